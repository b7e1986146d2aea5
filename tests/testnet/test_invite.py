"""A further member: its share of the data, what it is told to type, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2p_flock.chain.devnet_deployment import Devnet
from p2p_flock.daemon.config_file import parse_config
from p2p_flock.errors import UsageError
from p2p_flock.testnet.__main__ import parse_arguments
from p2p_flock.testnet.data import write_data
from p2p_flock.testnet.invite import (
    RunningNetwork,
    fund_account,
    init_words,
    invite_elsewhere,
    read_running,
    take_share,
)
from p2p_flock.testnet.options import Options
from p2p_flock.testnet.place import validate_listen_host

FACTORY = "0x" + "5f" * 20
BOOTSTRAP = "/ip4/127.0.0.1/tcp/23653/p2p/12D3KooWBXSaKdDKhNSVFgsTSr6JkLjr7EEvNzC1PD6otXYJTFrE"
NODES = 6


def network(directory: Path, spare_seats: int = 2, listen_host: str = "127.0.0.1") -> RunningNetwork:
    """As `read_running` finds it."""
    unused = "0x" + "00" * 20
    devnet = Devnet(
        rpc_url="http://127.0.0.1:29460",
        chain_id=84530,
        factory=FACTORY,
        token=unused,
        beacon=unused,
        genesis=unused,
        gm_flock=unused,
        governor="0x" + "bf" * 20,
        timelock=unused,
        emission=unused,
        beacon_urls=("http://127.0.0.1:27487",),
        beacon_chain_hash="00" * 32,
        beacon_public_key="0x" + "ab" * 96,
        beacon_genesis_s=1_700_000_000,
        beacon_period_s=1,
        pid=0,
    )
    options = Options(nodes=NODES, spare_seats=spare_seats, listen_host=listen_host)
    return RunningNetwork(directory, f"flock:84530:{FACTORY}:1", devnet, (BOOTSTRAP,), options)


def test_share__no_record_has_two_owners(tmp_path: Path) -> None:
    """A newcomer would bring nothing, and its score would be of records that others trained on."""
    there = network(tmp_path)
    for index in range(NODES):
        write_data(there.options, index, tmp_path / f"{index}.csv")
    shares = [(tmp_path / f"{index}.csv").read_text().splitlines()[1:] for index in range(NODES)]
    shares += [take_share(there, None)[1].read_text().splitlines()[1:] for _ in range(2)]
    assert all(shares)
    assert sum(map(len, shares)) == 920  # all records of the four hospitals, each once


def test_share__not_more_than_seats(tmp_path: Path) -> None:
    """Somebody would be invited to an alliance that has no seat."""
    there = network(tmp_path, spare_seats=1)
    own = tmp_path / "own.csv"
    own.write_text("age\n")
    with pytest.raises(UsageError, match="no such file"):
        take_share(there, tmp_path / "missing.csv")
    number, path = take_share(there, own)
    assert number == 1 and path.read_text() == "age\n"
    with pytest.raises(UsageError, match="--spare-seats"):
        take_share(there, None)


def test_words__make_valid_settings(tmp_path: Path) -> None:
    """The node would refuse the settings that it was told to use."""
    words = init_words(network(tmp_path), tmp_path / "share.csv", "192.0.2.20", 4101)
    settings = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    lines = [setting.removeprefix("chain.") for setting in settings if setting.startswith("chain.")]
    text = (
        f'[chain]\nrpc_urls = ["http://127.0.0.1:29460"]\nchain_id = 84530\nfactory = "{FACTORY}"\n'
        'beacon_scheme = "devnet"\n' + "\n".join(lines)
    )
    config = parse_config(text, tmp_path / "config.toml", {})
    assert config.chain.beacon_public_key is not None and config.chain.beacon_period_seconds == 1


def test_elsewhere__needs_nodes_that_can_be_reached(tmp_path: Path) -> None:
    """The other machine would dial its own loopback and wait for ever."""
    with pytest.raises(UsageError, match="listen on loopback"):
        invite_elsewhere(network(tmp_path), None, "192.0.2.20")
    text = invite_elsewhere(network(tmp_path, listen_host="192.0.2.10"), None, "192.0.2.20")
    assert "ssh -N -L 27487:127.0.0.1:27487 -L 29460:127.0.0.1:29460 192.0.2.10" in text
    assert "--listen-host 192.0.2.20" in text and "--fund ADDRESS" in text


def test_invite__says_what_is_wrong(tmp_path: Path) -> None:
    """A newcomer's first mistake would end in a traceback."""
    with pytest.raises(UsageError, match="No network with an alliance runs in"):
        read_running(tmp_path)
    for address in ("0x12", "node1", "0x" + "00" * 32):
        with pytest.raises(UsageError, match="40 hex digits"):
            fund_account(network(tmp_path), address)


@pytest.mark.parametrize("host", ["0.0.0.0", "hospital", "192.0.2.10", "239.0.0.1", "::1"])
def test_listen_host__is_one_of_this_machine(host: str) -> None:
    """Nodes would listen where nobody finds them, or everywhere unasked."""
    with pytest.raises(UsageError, match="--listen-host"):
        validate_listen_host(host)
    with pytest.raises(UsageError, match="--listen-host"):
        parse_arguments(["--listen-host", host]).validate()


def test_listen_host__goes_with_no_fault() -> None:
    """A fault's doors and namespaces would be bypassed unnoticed."""
    validate_listen_host("127.0.0.2")
    with pytest.raises(UsageError, match="no --fault"):
        parse_arguments(["--listen-host", "127.0.0.2", "--fault", "bootstrap-down"]).validate()


def test_options__until_stopped_is_paid_for() -> None:
    """The creator could not escrow what so many rounds pay."""
    options = parse_arguments(["--until-stopped", "--nodes", "6", "--spare-seats", "2"])
    options.validate()
    params = options.params
    assert params.round_count * params.reward_per_round + params.seat_stake < 100_000 * 10**18
    assert params.seat_count_max == 8
