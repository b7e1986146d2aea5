"""Proposals in words: what they would do, how they stand, what to do next. Pure.

Shown to somebody who is about to vote on what a stranger wrote: a call is put in words only where the words are all of
it, the rest is shown as what it is; texts are stripped of everything that could steer a terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from p2p_flock.chain.contracts import EMISSION, GM_FLOCK, GOVERNOR, TIMELOCK, TOKEN, address_bytes
from p2p_flock.chain.governance import GovernanceContracts
from p2p_flock.chain.governed_calls import ReadCall, read_call
from p2p_flock.chain.proposals import PROPOSER_MARK, GovernedCall, Proposal, ProposalState, Standing
from p2p_flock.cli.amounts import WEI_DECIMALS, format_money, format_seconds

TITLE_CHARACTERS_MAX = 72
DESCRIPTION_CHARACTERS_MAX = 20_000  # more is in the log of the chain, for who wants it
DATA_DIGITS_SHOWN = 128
SHORT_ID_DIGITS = 12
VOTES = "gmFLOCK"
# Calls that give power away for good. They are legitimate, rarely.
_CAUTION = {(TIMELOCK, "grantRole"), (TIMELOCK, "revokeRole"), (GOVERNOR, "relay"), (TOKEN, "approve")}


def short_id(number: int) -> str:
    """The beginning of a proposal's ID, as the commands take it."""
    return f"0x{number:064x}"[: 2 + SHORT_ID_DIGITS]


def safe_lines(text: bytes, characters_max: int = DESCRIPTION_CHARACTERS_MAX) -> list[str]:
    """A stranger's text as printable lines: control and direction characters are escaped, what is no UTF-8 replaced."""
    decoded = text[: 4 * characters_max].decode("utf-8", "replace")
    lines = decoded[:characters_max].splitlines()
    if len(decoded) > characters_max or len(text) > 4 * characters_max:
        lines.append("… (cut off here)")
    return ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines]


def description_lines(proposal: Proposal) -> list[str]:
    """The description without OpenZeppelin's mark of the proposer, which is shown elsewhere."""
    mark = f"\n{PROPOSER_MARK}{proposal.proposer.hex()}".encode()
    text = proposal.description
    # The mark's address may be written in any case; it is as long as ours.
    return safe_lines(text[: -len(mark)] if text[-len(mark) :].lower() == mark else text)


def title_of(proposal: Proposal) -> str:
    """The description's first line that says something."""
    lines = [line.strip().lstrip("# ") for line in description_lines(proposal)]
    title = next((line for line in lines if line), "(no description)")
    return title if len(title) <= TITLE_CHARACTERS_MAX else title[: TITLE_CHARACTERS_MAX - 1] + "…"


def moment(at_s: int, now_s: int) -> str:
    """``2026-11-23 10:15 (in 3 h)``, in this machine's time zone."""
    text = time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s)) if 0 <= at_s < 1 << 36 else str(at_s)
    away = at_s - now_s
    return f"{text} (in {format_seconds(away)})" if away > 0 else f"{text} ({format_seconds(-away)} ago)"


def exact_money(wei: int, unit: str) -> str:
    """As ``format_money``, to the last wei: what a vote decides is not rounded."""
    whole, fraction = divmod(wei, 10**WEI_DECIMALS)
    digits = f"{fraction:0{WEI_DECIMALS}d}".rstrip("0")
    return f"{whole:,}{'.' + digits if digits else ''} {unit}"


def name_address(contracts: GovernanceContracts, address: bytes) -> str:
    """The address, and what it is where it is one of the protocol's."""
    known = {
        contracts.timelock: "the treasury",
        contracts.governor: "the governor",
        contracts.emission: "the emission",
        contracts.gm_flock: "gmFLOCK",
        contracts.token: "FLOCK",
    }
    text = "0x" + address.hex()
    return f"{known[address]} ({text})" if address in known else text


def describe_call(contracts: GovernanceContracts, call: GovernedCall) -> list[str]:
    """What one call of a proposal would do: a sentence, perhaps with lines below it."""
    read = read_call(contracts, call)
    lines = _unknown(contracts, call) if read is None else _known(contracts, read)
    if call.value_wei and call.data:
        lines.append(f"and send {exact_money(call.value_wei, 'ETH')} from the treasury with it")
    return lines


def _known(contracts: GovernanceContracts, read: ReadCall) -> list[str]:
    words = _WORDS.get((read.contract, read.function))
    if words is not None:
        return words(contracts, *read.arguments)
    arguments = ", ".join(_plain(argument) for argument in read.arguments)
    lines = [f"Call {read.contract}.{read.function}({arguments})"]
    if (read.contract, read.function) in _CAUTION:
        lines.append("CAUTION: this can hand the treasury or the timelock to somebody. Look closely.")
    return lines


def _plain(value: Any) -> str:
    """An argument as a line of text, strings of strangers escaped."""
    if isinstance(value, tuple):
        return "[" + ", ".join(_plain(item) for item in value) + "]"
    text = "0x" + value.hex() if isinstance(value, bytes) else value if isinstance(value, str) else str(value)
    line = " ".join(safe_lines(text.encode()))
    return line if len(line) <= DATA_DIGITS_SHOWN else line[:DATA_DIGITS_SHOWN] + "…"


def _unknown(contracts: GovernanceContracts, call: GovernedCall) -> list[str]:
    where = name_address(contracts, call.target)
    if not call.data:
        return [f"Send {exact_money(call.value_wei, 'ETH')} from the treasury to {where}"]
    shown = call.data.hex()[:DATA_DIGITS_SHOWN]
    more = "…" if len(call.data.hex()) > DATA_DIGITS_SHOWN else ""
    return [f"Call {where} with {len(call.data)} bytes that are in no words here:", f"0x{shown}{more}"]


def _weights(contracts: GovernanceContracts, changes: tuple[tuple[str, int], ...]) -> list[str]:
    lines = ["Set weights of the emission's gauges; those not named keep theirs:"]
    for gauge, weight in changes:
        what = f"weight {weight}" if weight else "removed"
        lines.append(f"{name_address(contracts, address_bytes(gauge))}: {what}")
    return lines


def _transfer(contracts: GovernanceContracts, to: str, amount: int) -> list[str]:
    return [f"Pay {exact_money(amount, 'FLOCK')} from the treasury to {name_address(contracts, address_bytes(to))}"]


def _staking(contracts: GovernanceContracts, address: str, listed: bool) -> list[str]:
    where = name_address(contracts, address_bytes(address))
    if listed:
        return [f"Allow gmFLOCK to be staked at {where}"]
    return [f"Allow no more gmFLOCK to be staked at {where}; what is there can be taken back"]


_WORDS: Mapping[tuple[str, str], Callable[..., list[str]]] = {
    (EMISSION, "setWeights"): _weights,
    (TOKEN, "transfer"): _transfer,
    (GM_FLOCK, "setStakingContract"): _staking,
    (GOVERNOR, "updateQuorumNumerator"): lambda _, percent: [f"Set the quorum to {percent} % of all votes"],
    (GOVERNOR, "setVotingDelay"): lambda _, s: [f"Set the voting delay to {format_seconds(s)}"],
    (GOVERNOR, "setVotingPeriod"): lambda _, s: [f"Set the voting period to {format_seconds(s)}"],
    (GOVERNOR, "setProposalThreshold"): lambda _, wei: [f"Let who has {exact_money(wei, VOTES)} propose"],
    (TIMELOCK, "updateDelay"): lambda _, s: [f"Set the timelock's delay to {format_seconds(s)}"],
}


# --- standing --------------------------------------------------------------------------------------------------


def describe_standing(proposal: Proposal, standing: Standing, now_s: int) -> str:
    """One sentence: where it is on its way, and the command that moves it on."""
    number = short_id(proposal.id)
    match standing.state:
        case ProposalState.PENDING:
            return f"pending: voting begins {moment(proposal.vote_start_s + 1, now_s)}"
        case ProposalState.ACTIVE:
            return f"active: vote until {moment(proposal.vote_end_s, now_s)} with `p2p-flock gov vote {number} …`"
        case ProposalState.SUCCEEDED:
            return f"passed: anyone may queue it with `p2p-flock gov queue {number}`"
        case ProposalState.QUEUED if standing.executable_at_s > now_s:
            return f"queued: can be executed from {moment(standing.executable_at_s, now_s)} on"
        case ProposalState.QUEUED:
            return f"queued: anyone may execute it with `p2p-flock gov execute {number}`"
        case ProposalState.DEFEATED:
            return f"defeated: {_why_defeated(standing)}"
        case ProposalState.CANCELED:
            return "cancelled by its proposer"
        case ProposalState.EXPIRED:
            return "expired"
        case ProposalState.EXECUTED:
            return "executed"


def _why_defeated(standing: Standing) -> str:
    missing = (standing.quorum or 0) - standing.votes_for - standing.votes_abstain
    if missing > 0:
        return f"{format_money(missing, VOTES)} were missing for the quorum"
    return "no more votes for than against"


def describe_votes(standing: Standing) -> list[str]:
    """The tally, and the quorum once it is fixed."""
    counts = (("for", standing.votes_for), ("against", standing.votes_against), ("abstain", standing.votes_abstain))
    lines = [", ".join(f"{name} {format_money(votes, VOTES)}" for name, votes in counts)]
    if standing.quorum is None:
        return [*lines, "quorum: fixed when voting begins"]
    present = standing.votes_for + standing.votes_abstain
    reached = "reached" if present >= standing.quorum else f"{format_money(standing.quorum - present, VOTES)} missing"
    return [*lines, f"quorum (for and abstain): {format_money(standing.quorum, VOTES)}, {reached}"]
