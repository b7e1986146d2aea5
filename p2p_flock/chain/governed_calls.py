"""What a proposal can do: builders of the calls that governance is there for, and reading calls back. Pure.

Called by the commands ``p2p-flock gov``. A call is read back only where encoding it again gives the very same bytes:
what voters are shown in words is then all that it does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from p2p_flock.chain.abi import AbiError, decode, kind_of, split_types
from p2p_flock.chain.contracts import (
    EMISSION,
    GM_FLOCK,
    GOVERNOR,
    SELECTOR_BYTES,
    TIMELOCK,
    TOKEN,
    load_contract,
)
from p2p_flock.chain.governance import GovernanceContracts
from p2p_flock.chain.proposals import GovernedCall
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ChainError, UsageError

GAUGES_MAX = 32  # the emission's limit
WEIGHT_MAX = (1 << 64) - 1
QUORUM_PERCENT_MAX = 100
VOTING_DELAY_S_MAX = (1 << 48) - 1
VOTING_PERIOD_S_MAX = (1 << 32) - 1
_SIGNATURE = re.compile(r"([A-Za-z_$][A-Za-z0-9_$]{0,99})(\([A-Za-z0-9,()\[\]]{0,500}\))")
_QUOTED_OR_HEX = re.compile(r'"(?:[^"\\]|\\.)*"|0x[0-9a-fA-F]*')


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A call of one of our contracts: the artifact's name, the function's, its arguments by position."""

    contract: str
    function: str
    arguments: tuple[Any, ...]


def build_call(contract: str, target: bytes, function: str, *arguments: object) -> GovernedCall:
    """A call of one of our contracts, without ETH.

    Raises:
        AbiError: an argument does not fit.
    """
    return GovernedCall(target, 0, load_contract(contract).functions[function].encode(*arguments))


def set_gauges(contracts: GovernanceContracts, weights: Sequence[tuple[bytes, int]]) -> GovernedCall:
    """Give gauges new weights from the execution on; weight 0 removes one, those not named keep theirs.

    Args:
        weights: (gauge, 20 bytes; weight, 0 to 2^64 - 1), each gauge once.

    Raises:
        UsageError: none, too many, one twice, the zero address, or a weight out of range.
    """
    gauges = [gauge for gauge, _ in weights]
    if not 1 <= len(gauges) <= 2 * GAUGES_MAX or len(set(gauges)) < len(gauges) or bytes(20) in gauges:
        raise UsageError(f"name 1 to {2 * GAUGES_MAX} gauges, each once, none of them the zero address")
    if any(not 0 <= weight <= WEIGHT_MAX for _, weight in weights):
        raise UsageError(f"a gauge's weight is a whole number from 0 (remove it) to {WEIGHT_MAX}")
    return build_call(EMISSION, contracts.emission, "setWeights", list(weights))


def spend(contracts: GovernanceContracts, to: bytes, amount_wei: int) -> GovernedCall:
    """Pay FLOCK wei from the treasury, which is the timelock.

    Raises:
        UsageError: nothing, or to nobody.
    """
    if amount_wei <= 0 or not any(to):
        raise UsageError("a payment goes to an address other than zero and is more than 0\ncorrect --spend")
    return build_call(TOKEN, contracts.token, "transfer", to, amount_wei)


def allow_staking(contracts: GovernanceContracts, staking_contract: bytes, allowed: bool) -> GovernedCall:
    """Let gmFLOCK move to a staking contract, or no longer; back from it it always can."""
    return build_call(GM_FLOCK, contracts.gm_flock, "setStakingContract", staking_contract, allowed)


def set_quorum(contracts: GovernanceContracts, percent: int) -> GovernedCall:
    """Share of all votes that must be for or abstaining, in percent; the governor's fixed least quorum stays.

    Raises:
        UsageError: not from 0 to 100.
    """
    _require(percent, 0, QUORUM_PERCENT_MAX, "the quorum, in percent,")
    return build_call(GOVERNOR, contracts.governor, "updateQuorumNumerator", percent)


def set_voting_delay(contracts: GovernanceContracts, seconds: int) -> GovernedCall:
    """Time from a proposal to its snapshot of votes.

    Raises:
        UsageError: out of the contract's range.
    """
    _require(seconds, 0, VOTING_DELAY_S_MAX, "the voting delay, in seconds,")
    return build_call(GOVERNOR, contracts.governor, "setVotingDelay", seconds)


def set_voting_period(contracts: GovernanceContracts, seconds: int) -> GovernedCall:
    """Time from the snapshot to the end of the vote.

    Raises:
        UsageError: out of the contract's range.
    """
    _require(seconds, 1, VOTING_PERIOD_S_MAX, "the voting period, in seconds,")
    return build_call(GOVERNOR, contracts.governor, "setVotingPeriod", seconds)


def set_threshold(contracts: GovernanceContracts, votes_wei: int) -> GovernedCall:
    """Votes, in gmFLOCK wei, that a proposer needs."""
    return build_call(GOVERNOR, contracts.governor, "setProposalThreshold", votes_wei)


def set_timelock_delay(contracts: GovernanceContracts, seconds: int) -> GovernedCall:
    """Time from queueing to execution.

    Raises:
        UsageError: out of range.
    """
    _require(seconds, 0, VOTING_DELAY_S_MAX, "the timelock's delay, in seconds,")
    return build_call(TIMELOCK, contracts.timelock, "updateDelay", seconds)


def _require(value: int, least: int, most: int, what: str) -> None:
    if not least <= value <= most:
        raise UsageError(f"{what} is a whole number from {least} to {most}, not {value}")


# --- any other call --------------------------------------------------------------------------------------------


def parse_call(text: str) -> GovernedCall:
    """``TO:SIGNATURE:ARGS``, for example ``0xab…:transfer(address,uint256):0xcd…,5``.

    ARGS are JSON values separated by commas, in which hex needs no quotes; arrays and structs are lists.

    Raises:
        UsageError: malformed, or an argument does not fit its type.
    """
    target, _, rest = text.partition(":")
    signature, _, arguments = rest.partition(":")
    match = _SIGNATURE.fullmatch(signature.strip())
    if match is None or re.fullmatch("0x[0-9a-fA-F]{40}", target.strip()) is None:
        raise UsageError(
            f"--call {text[:80]!r} is not TO:SIGNATURE:ARGS\n"
            "write it like 0xADDRESS:transfer(address,uint256):0xADDRESS,5 (ARGS as in JSON, texts in quotes)"
        )
    try:
        values = json.loads("[" + _QUOTED_OR_HEX.sub(_quote, arguments) + "]")
        struct = match[2]
        data = kind_of(struct).encode(_value(struct, values))  # a struct's own bytes are those of a call's arguments
    except (ValueError, RecursionError, AbiError) as error:
        raise UsageError(f"--call {signature.strip()}: {error}\ncorrect its arguments") from error
    return GovernedCall(bytes.fromhex(target.strip()[2:]), 0, keccak256(signature.strip().encode())[:4] + data)


def _quote(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else f'"{match[0]}"'


def _value(kind: str, value: Any) -> object:
    """A JSON value as what ``abi.encode`` takes for the type; bytes are hex text in JSON, integers may be."""
    if kind.endswith("[]"):
        return [_value(kind[:-2], item) for item in _list(value)]
    if kind.startswith("("):
        fields = split_types(kind[1:-1])
        values = _list(value)
        if len(values) != len(fields):
            raise ValueError(f"{len(fields)} values are needed, {len(values)} are there")
        return [_value(field, item) for field, item in zip(fields, values, strict=True)]
    if kind.startswith("uint") and isinstance(value, str):
        return int(value, 16 if value.startswith("0x") else 10)
    if kind.startswith("uint") and isinstance(value, bool):
        raise ValueError("true and false are no numbers")
    if kind.startswith("bytes"):
        return bytes.fromhex(str(value).removeprefix("0x"))
    if (kind == "bool" and not isinstance(value, bool)) or (kind == "string" and not isinstance(value, str)):
        raise ValueError(f"{value!r} is no {kind}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list")
    return value


# --- reading back ----------------------------------------------------------------------------------------------


def read_call(contracts: GovernanceContracts, call: GovernedCall) -> ReadCall | None:
    """The call in our own terms; ``None`` where the target is none of our contracts, or its bytes say more than words.

    The arguments come as ``abi.decode`` has them: addresses as lower-case hex text, structs and arrays as tuples.
    """
    contract = _names(contracts).get(call.target)
    if contract is None:
        return None
    for function in load_contract(contract).functions.values():
        if function.selector != call.data[:SELECTOR_BYTES]:
            continue
        try:
            arguments = decode(function.inputs, call.data[SELECTOR_BYTES:])
            if function.encode(*arguments) == call.data:
                return ReadCall(contract, function.name, arguments)
        except ChainError:
            pass
    return None


def _names(contracts: GovernanceContracts) -> Mapping[bytes, str]:
    return {
        contracts.token: TOKEN,
        contracts.gm_flock: GM_FLOCK,
        contracts.governor: GOVERNOR,
        contracts.timelock: TIMELOCK,
        contracts.emission: EMISSION,
    }
