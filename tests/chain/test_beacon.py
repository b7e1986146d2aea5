"""drand values: the real network's, forged ones, relays that fail or lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_flock.chain.beacon import (
    QUICKNET,
    QUICKNET_CHAIN_HASH,
    BeaconClient,
    BeaconNetwork,
    compress_g1,
    compute_chain_hash,
    compute_randomness,
    g2_from_contract,
    g2_to_contract,
    public_key_of,
    sign_beacon,
    uncompress_g1,
    verify_beacon,
)
from p2p_flock.chain.devnet_beacon import PUBLIC_KEY, SECRET_KEY, DevnetBeacon
from p2p_flock.errors import BeaconError, ConfigError, CryptoError
from tests.chain.fake_rpc import serve_fake

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "beacon.json").read_text())
QUICKNET_GROUP_HASH = bytes.fromhex("f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e")
NOW_S = 1_000_000
NETWORK = BeaconNetwork(PUBLIC_KEY, NOW_S - 100, 1)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.mark.parametrize("network", ["quicknet", "devnet"])
def test_vectors__good_rounds_verify(network: str) -> None:
    """A node that rejects a real drand round never learns its role."""
    key = unhex(VECTORS[network]["public_key_compressed"])
    for vector in VECTORS[network]["rounds"]:
        signature = unhex(vector["signature"])
        assert verify_beacon(key, vector["round"], signature)
        assert compress_g1(signature) == unhex(vector["signature_compressed"])
        assert uncompress_g1(unhex(vector["signature_compressed"])) == signature
        assert compute_randomness(signature) == unhex(vector["randomness"])
    assert g2_to_contract(key) == unhex(VECTORS[network]["public_key"])
    assert g2_from_contract(unhex(VECTORS[network]["public_key"])) == key


@pytest.mark.parametrize("vector", VECTORS["bad_signatures"], ids=lambda v: v["name"])
def test_vectors__bad_signatures_are_refused(vector: dict[str, Any]) -> None:
    """A forged beacon would let its forger choose who trains with whom."""
    key = unhex(VECTORS[vector["network"]]["public_key_compressed"])
    signature = unhex(vector["signature"])
    # The compressed form of a good signature is good off chain as well: only the contract insists on 96 bytes.
    if vector["name"] != "the compressed form":
        assert not verify_beacon(key, vector["round"], signature)


@pytest.mark.parametrize("vector", VECTORS["bad_keys"], ids=lambda v: v["name"])
def test_vectors__bad_keys_are_refused(vector: dict[str, Any]) -> None:
    """Under the key at infinity, or none, anything would verify."""
    with pytest.raises(CryptoError):
        g2_from_contract(unhex(vector["public_key"]))


def test_quicknet__constants_are_committed_to_by_its_name() -> None:
    """A wrong key or schedule of the production network would only show on the day of the launch."""
    assert compute_chain_hash(QUICKNET, QUICKNET_GROUP_HASH, "quicknet") == QUICKNET_CHAIN_HASH
    assert QUICKNET.public_key == unhex(VECTORS["quicknet"]["public_key_compressed"])
    assert (QUICKNET.genesis_s, QUICKNET.period_s) == (
        VECTORS["quicknet"]["genesis"],
        VECTORS["quicknet"]["period"],
    )
    assert QUICKNET.time_of(1) == QUICKNET.genesis_s
    assert QUICKNET.time_of(1000) == QUICKNET.genesis_s + 2997


def test_signing__makes_what_verification_accepts() -> None:
    """The development beacon must differ from drand in its key only."""
    assert public_key_of(SECRET_KEY) == PUBLIC_KEY
    assert verify_beacon(PUBLIC_KEY, 7, sign_beacon(SECRET_KEY, 7))
    assert not verify_beacon(PUBLIC_KEY, 8, sign_beacon(SECRET_KEY, 7))


def relay_of(server: DevnetBeacon, *, lie: bool = False):  # type: ignore[no-untyped-def]
    """A responder in front of the development beacon that may hand out another round's signature."""

    def respond(path: object) -> tuple[int, bytes]:
        status, document = server.answer(str(path))
        if lie and status == 200:
            document["signature"] = sign_beacon(SECRET_KEY, 1).hex()
        return status, json.dumps(document).encode()

    return respond


async def test_client__passes_over_relays_that_lie_or_fail() -> None:
    """One bad relay of several must cost a request and nothing else."""
    server = DevnetBeacon(0, NETWORK, lambda: NOW_S)
    with (
        serve_fake(lambda _: (500, b"oops")) as broken,
        serve_fake(lambda _: (200, b'{"signature": 5}')) as senseless,
        serve_fake(relay_of(server, lie=True)) as liar,
        serve_fake(relay_of(server)) as honest,
    ):
        urls = [broken.url, senseless.url, liar.url, honest.url]
        client = BeaconClient(NETWORK, urls, server.chain_hash, lambda: NOW_S)
        value = await client.get(50)
        assert value.signature == uncompress_g1(sign_beacon(SECRET_KEY, 50))
        assert value.randomness == compute_randomness(value.signature)
        assert (await client.get(50), len(liar.bodies)) == (value, 1)  # remembered
        await client.get(51)
        assert (len(liar.bodies), len(honest.bodies)) == (1, 2)  # the one that worked is asked first
        client.close()
        only_bad = BeaconClient(NETWORK, urls[:3], server.chain_hash, lambda: NOW_S)
        with pytest.raises(BeaconError, match="invalid signature"):
            await only_bad.get(50)
        only_bad.close()
    server.server_close()


async def test_client__waits_for_the_publication() -> None:
    """A node that asks too early and gives up would sit out every round."""
    clock = [NOW_S + 0.5]
    server = DevnetBeacon(0, NETWORK, lambda: clock[0])
    newest = int(clock[0] - NETWORK.genesis_s) + 1
    requests: list[object] = []

    def respond(path: object) -> tuple[int, bytes]:
        requests.append(path)
        answer = relay_of(server)(path)
        clock[0] += 0.2  # time passes with every request
        return answer

    with serve_fake(respond) as relay:
        client = BeaconClient(NETWORK, [relay.url], server.chain_hash, lambda: clock[0])
        with trio.fail_after(10):
            value = await client.wait_for(newest + 1, NOW_S + 60)
        assert value.beacon_round == newest + 1
        assert len(requests) > 1
        client.close()
        stranger = BeaconClient(NETWORK, [relay.url], "00" * 32, lambda: clock[0])
        with trio.fail_after(10), pytest.raises(BeaconError, match="HTTP 404"):
            await stranger.wait_for(3, clock[0] + 1)
        stranger.close()
    server.server_close()


def test_devnet_beacon__keeps_rounds_back_until_their_time() -> None:
    """A beacon known early lets a member see its role before the seats freeze."""
    server = DevnetBeacon(0, NETWORK, lambda: NOW_S)
    path = f"/{server.chain_hash}/public/"
    newest = NOW_S - NETWORK.genesis_s + 1
    assert server.answer(path + str(newest + 1))[0] == 425
    assert server.answer(path + "0")[0] == 404
    assert server.answer(path + "x")[0] == 404
    assert server.answer(f"/{'00' * 32}/public/1")[0] == 404
    status, document = server.answer(path + "latest")
    assert (status, document["round"]) == (200, newest)
    _, info = server.answer(f"/{server.chain_hash}/info")
    assert (info["genesis_time"], info["period"], info["public_key"]) == (
        *(NETWORK.genesis_s, 1),
        PUBLIC_KEY.hex(),
    )
    server.server_close()


def test_client__refuses_bad_configuration() -> None:
    """A node without relays could never take part; it must say so at the start."""
    with pytest.raises(ConfigError):
        BeaconClient(NETWORK, [], "00" * 32)
    with pytest.raises(ConfigError):
        BeaconClient(NETWORK, ["nonsense"], "00" * 32)
