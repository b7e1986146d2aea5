"""A chain whose clock tests turn: anvil with the alliance's contracts, all accounts impersonated, no trio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from p2p_flock.chain.anvil import BASE_RULES, ask, open_anvil
from p2p_flock.chain.beacon import g2_to_contract
from p2p_flock.chain.contracts import Contract, address_bytes, decode_revert, load_contract
from p2p_flock.chain.devnet_beacon import PUBLIC_KEY
from p2p_flock.chain.http import HttpEndpoint
from p2p_flock.crypto.signing import address_of
from p2p_flock.testing.alliance import digest_of

CHAIN_ID = 84530
STARTS_AT_S = 1_800_000_000
GAS = (1 << 24) - 1
HOLDER = address_of(digest_of("holder"))
SUPPLY_WEI = 10**27


class Rehearsal:
    """A chain and its contracts; one transaction a block, at the second that the caller says."""

    def __init__(self, endpoint: HttpEndpoint) -> None:
        self._endpoint = endpoint
        self.now_s = STARTS_AT_S
        self.ask("evm_setAutomine", False)
        self.fund(HOLDER)
        beacon = (g2_to_contract(PUBLIC_KEY), STARTS_AT_S - 1000, 1)
        self.beacon = self._create("Beacon", *beacon)
        self.token = self._create("FlockToken", HOLDER, SUPPLY_WEI, HOLDER)
        challenges = self._create("Challenges", self.token, self.beacon)
        evidence = self._create("Evidence", self.token, self.beacon, challenges)
        members = self._create("Members", self.token, self.beacon, evidence)
        self.factory = self._create("AllianceFactory", self.token, self.beacon, members)

    def ask(self, method: str, *params: object) -> Any:
        """One JSON-RPC call that must succeed."""
        answer = ask(self._endpoint, method, list(params))
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def fund(self, account: bytes) -> None:
        """Ether for gas."""
        self.ask("anvil_setBalance", "0x" + account.hex(), hex(10**24))

    def _create(self, name: str, *arguments: object) -> bytes:
        receipt = self.send(HOLDER, None, load_contract(name).encode_constructor(*arguments))
        return address_bytes(receipt["contractAddress"])

    def send(self, sender: bytes, to: bytes | None, data: bytes) -> Any:
        """Mine one transaction in a block of its own, a second after the last one; its receipt."""
        request = {"from": "0x" + sender.hex(), "data": "0x" + data.hex(), "gas": hex(GAS)}
        if to is not None:
            request["to"] = "0x" + to.hex()
        transaction = self.ask("eth_sendTransaction", request)
        self.now_s += 1
        self.ask("evm_mine", self.now_s)
        receipt = self.ask("eth_getTransactionReceipt", transaction)
        if receipt is None or receipt["status"] != "0x1":
            refusal = ask(self._endpoint, "eth_call", [request, "latest"]).get("error", {})
            raise AssertionError(decode_revert(bytes.fromhex(refusal.get("data", "0x")[2:])))
        return receipt

    def view(self, contract: Contract, to: bytes, function: str, *arguments: object) -> tuple[Any, ...]:
        """The values of a view call."""
        target = contract.functions[function]
        data = "0x" + target.encode(*arguments).hex()
        answer = self.ask("eth_call", {"to": "0x" + to.hex(), "data": data}, "latest")
        return target.decode(bytes.fromhex(answer[2:]))

    def refusal(self, sender: bytes, to: bytes, data: bytes) -> tuple[str, dict[str, Any]] | None:
        """Why a transaction would be refused now, ``None`` if it would not be; nothing is sent."""
        request = {"from": "0x" + sender.hex(), "to": "0x" + to.hex(), "data": "0x" + data.hex()}
        answer = ask(self._endpoint, "eth_call", [request, "latest"])
        return decode_revert(bytes.fromhex(answer["error"]["data"][2:])) if "error" in answer else None

    def pass_until(self, moment_s: int) -> None:
        """The next block comes at ``moment_s`` at the earliest."""
        self.now_s = max(self.now_s, moment_s - 1)


@contextmanager
def open_rehearsal() -> Iterator[Rehearsal]:
    """A fresh chain with the contracts on it."""
    arguments = ("--chain-id", str(CHAIN_ID), "--timestamp", str(STARTS_AT_S), "--prune-history", "--auto-impersonate")
    with (
        open_anvil(*BASE_RULES, "--base-fee", "0", *arguments) as url,
        closing(HttpEndpoint(url, timeout_s=30.0, body_bytes_max=8 << 20)) as endpoint,
    ):
        yield Rehearsal(endpoint)
