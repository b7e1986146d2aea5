"""Proposals of the governor: read from its logs, standing on the chain, moved along.

Called by the commands ``p2p-flock gov``. Whatever a proposal says was written by somebody who holds enough votes, not
by a friend: its text is bytes here, its calls are what counts, and its ID is their hash, which is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from p2p_flock.chain.abi import decode, encode
from p2p_flock.chain.client import Call, Json, as_bytes
from p2p_flock.chain.contracts import GM_FLOCK, GOVERNOR, address_bytes, address_text, decode_revert
from p2p_flock.chain.events import Log
from p2p_flock.chain.governance import Governance, View, read_views
from p2p_flock.chain.governance_logs import read_logs
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ChainError, RpcError, UsageError

CALLS_MAX = 32  # of a proposal that we make: what a person can still read before voting
DESCRIPTION_BYTES_MAX = 16_384  # of a proposal that we make; about 260,000 gas of calldata
ID_DIGITS_MIN = 8  # hex digits of a shortened ID; the governor's few proposals never collide by chance there
PROPOSER_MARK = "#proposer=0x"  # OpenZeppelin's protection against somebody else proposing the same first
# As the ABI has ProposalCreated, but for the texts, which are bytes here: what is no UTF-8 must not hide a proposal.
_CREATED = ("uint256", "address", "address[]", "uint256[]", "bytes[]", "bytes[]", "uint256", "uint256", "bytes")


class ProposalState(IntEnum):
    """OpenZeppelin's ``IGovernor.ProposalState``."""

    PENDING = 0
    ACTIVE = 1
    CANCELED = 2
    DEFEATED = 3
    SUCCEEDED = 4
    QUEUED = 5
    EXPIRED = 6
    EXECUTED = 7


class Support(IntEnum):
    """OpenZeppelin's ``GovernorCountingSimple.VoteType``."""

    AGAINST = 0
    FOR = 1
    ABSTAIN = 2


@dataclass(frozen=True, slots=True)
class GovernedCall:
    """What the timelock would do: call ``target`` (20 bytes) with ``data``, and send ``value_wei`` of ETH along."""

    target: bytes
    value_wei: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as its log has it; times are Unix seconds, votes count from after ``vote_start_s``.

    Attributes:
        id: hash of calls and description, below 2^256.
        description: as written, not decoded.
        block: in which it was proposed.
    """

    id: int
    proposer: bytes
    calls: tuple[GovernedCall, ...]
    vote_start_s: int
    vote_end_s: int
    description: bytes
    block: int

    def arguments(self) -> tuple[object, ...]:
        """What ``queue``, ``execute`` and ``cancel`` take."""
        return (*_columns(self.calls), keccak256(self.description))


@dataclass(frozen=True, slots=True)
class Standing:
    """How a proposal stands; votes in gmFLOCK wei.

    Attributes:
        quorum: votes for and abstaining that it needs; ``None`` until voting has begun.
        executable_at_s: when the timelock lets it pass; 0 until it is queued.
        has_voted, own_votes: of the account that asks; votes at the proposal's snapshot, ``None`` before that.
    """

    state: ProposalState
    votes_against: int
    votes_for: int
    votes_abstain: int
    quorum: int | None
    executable_at_s: int
    has_voted: bool
    own_votes: int | None


def compute_proposal_id(calls: Sequence[GovernedCall], description: bytes) -> int:
    """``keccak256(abi.encode(targets, values, calldatas, keccak256(description)))`` (Governor.hashProposal)."""
    values = (*_columns(calls), keccak256(description))
    return int.from_bytes(keccak256(encode(("address[]", "uint256[]", "bytes[]", "bytes32"), values)), "big")


def _columns(calls: Sequence[GovernedCall]) -> tuple[list[bytes], list[int], list[bytes]]:
    return [call.target for call in calls], [call.value_wei for call in calls], [call.data for call in calls]


def decode_proposal(data: bytes, block: int) -> Proposal:
    """A proposal from the data of its ``ProposalCreated`` log.

    Raises:
        ChainError: the bytes are no such log, or the ID is not the hash of what they say.
    """
    number, proposer, targets, values, _, datas, start_s, end_s, description = decode(_CREATED, data)
    if not len(targets) == len(values) == len(datas):
        raise ChainError("a proposal's log has calls without target, value or data; use another RPC endpoint")
    calls = tuple(
        GovernedCall(address_bytes(target), value, payload)
        for target, value, payload in zip(targets, values, datas, strict=True)
    )
    if compute_proposal_id(calls, description) != number:
        raise ChainError("a proposal's log does not belong to its ID; use another RPC endpoint")
    return Proposal(number, address_bytes(proposer), calls, start_s, end_s, description, block)


async def read_proposals(governance: Governance, enough: Callable[[Sequence[Proposal]], bool]) -> list[Proposal]:
    """The governor's proposals, newest first.

    Args:
        enough: asked where the provider serves blocks in pieces only; no older piece is read once it says yes.

    Raises:
        ChainError: the endpoints failed or disagree, or a log is malformed.
    """
    found: list[Proposal] = []

    def take(logs: Sequence[Log]) -> bool:
        found.extend(decode_proposal(log.data, log.block) for log in logs)
        return enough(found)

    await read_logs(governance, GOVERNOR, governance.contracts.governor, "ProposalCreated", take)
    return found


async def find_proposal(governance: Governance, text: str) -> Proposal:
    """The proposal that an operator means by its ID: decimal, hex, or the first hex digits after ``0x``.

    Raises:
        UsageError: none, or several.
        ChainError: as :func:`read_proposals`.
    """
    wanted = text.strip().lower()
    digits = wanted.removeprefix("0x")

    def fits(proposal: Proposal) -> bool:
        if wanted.startswith("0x"):
            return len(digits) >= ID_DIGITS_MIN and f"{proposal.id:064x}".startswith(digits)
        return str(proposal.id) == wanted

    fitting = [p for p in await read_proposals(governance, lambda found: any(map(fits, found))) if fits(p)]
    if len(fitting) != 1:
        what = "several proposals begin with" if fitting else "there is no proposal"
        raise UsageError(
            f"{what} {text[:80]!r}\n`p2p-flock gov list` shows them; give at least {ID_DIGITS_MIN} digits after 0x"
        )
    return fitting[0]


async def read_standing(governance: Governance, proposals: Sequence[Proposal]) -> tuple[Standing, ...]:
    """How each proposal stands now, in one batch for all of them.

    Raises:
        ChainError: the endpoints failed or disagree.
    """
    now_s = await governance.now_s()
    governor, account = governance.contracts.governor, governance.address
    views: list[View] = []
    for p in proposals:
        views += [View(GOVERNOR, governor, name, (p.id,)) for name in ("state", "proposalVotes", "proposalEta")]
        views.append(View(GOVERNOR, governor, "hasVoted", (p.id, account)))
        if p.vote_start_s < now_s:  # votes of the future cannot be asked for
            views.append(View(GOVERNOR, governor, "quorum", (p.vote_start_s,)))
            views.append(View(GM_FLOCK, governance.contracts.gm_flock, "getPastVotes", (account, p.vote_start_s)))
    answers = iter(await read_views(governance.client, views))
    return tuple(_standing(answers, p.vote_start_s < now_s) for p in proposals)


def _standing(answers: Any, begun: bool) -> Standing:
    state, (against, in_favour, abstain), eta_s, has_voted = (next(answers) for _ in range(4))
    quorum, own_votes = (next(answers), next(answers)) if begun else (None, None)
    if state not in list(ProposalState):
        raise ChainError(f"the governor answers with a state that it does not have: {state}")
    return Standing(ProposalState(state), against, in_favour, abstain, quorum, eta_s, has_voted, own_votes)


async def read_own_votes(governance: Governance) -> tuple[int, int]:
    """Votes that the account could propose with now, and those that proposing takes; gmFLOCK wei.

    Raises:
        ChainError: the endpoints failed or disagree.
    """
    before_s = await governance.now_s() - 1  # the governor asks for the votes of the second before
    votes, needed = await read_views(
        governance.client,
        (
            View(GOVERNOR, governance.contracts.governor, "getVotes", (governance.address, before_s)),
            View(GOVERNOR, governance.contracts.governor, "proposalThreshold"),
        ),
    )
    return votes, needed


async def simulate_calls(governance: Governance, calls: Sequence[GovernedCall]) -> dict[int, str]:
    """Which calls the timelock could not make at this moment, by place from 1, and the error that each meets.

    Calls on the governor itself cannot be tried: it takes them only in the middle of an execution. Nor can calls that
    build on each other: each is tried alone.

    Raises:
        ChainError: the endpoint failed.
    """
    failures: dict[int, str] = {}
    for place, call in enumerate(calls, 1):
        if call.target == governance.contracts.governor:
            continue
        request: dict[str, Json] = {
            "from": address_text(governance.contracts.timelock),
            "to": address_text(call.target),
            "value": hex(call.value_wei),
            "data": "0x" + call.data.hex(),
        }
        (answer,) = await governance.client.batch((Call("eth_call", (request, "latest")),))
        if isinstance(answer, RpcError):
            failures[place] = decode_revert(answer.data)[0] if answer.data else answer.message
        elif call.data and not as_bytes(
            await governance.client.call("eth_getCode", address_text(call.target), "latest")
        ):
            failures[place] = "there is no contract at that address"
    return failures


# --- what an account does with them ----------------------------------------------------------------------------


async def propose(governance: Governance, calls: Sequence[GovernedCall], description: str) -> Proposal:
    """Propose; the description is closed with OpenZeppelin's mark, so that nobody can propose the same first.

    Raises:
        UsageError: no call, too many, or too long a description.
        TransactionFailedError: e.g. GovernorInsufficientProposerVotes.
        ChainError: the endpoint failed.
    """
    if not 1 <= len(calls) <= CALLS_MAX:
        raise UsageError(f"a proposal makes 1 to {CALLS_MAX} calls, not {len(calls)}\nname what it should change")
    text = f"{description.rstrip()}\n{PROPOSER_MARK}{governance.address.hex()}".encode()
    if len(text) > DESCRIPTION_BYTES_MAX:
        raise UsageError(
            f"the description has {len(text)} bytes, at most {DESCRIPTION_BYTES_MAX} are allowed\n"
            "shorten it and link to the rest"
        )
    await _send(governance, "proposing", "propose", *_columns(calls), text.decode())
    number = compute_proposal_id(calls, text)
    start_s = await governance.read(GOVERNOR, governance.contracts.governor, "proposalSnapshot", number)
    end_s = await governance.read(GOVERNOR, governance.contracts.governor, "proposalDeadline", number)
    return Proposal(number, governance.address, tuple(calls), start_s, end_s, text, 0)


async def vote(governance: Governance, proposal: Proposal, support: Support, reason: str) -> TransactionReceipt:
    """Cast all votes of the account at the proposal's snapshot; final.

    Raises:
        TransactionFailedError: e.g. GovernorAlreadyCastVote, GovernorUnexpectedProposalState.
        ChainError: the endpoint failed.
    """
    if reason:
        return await _send(governance, "voting", "castVoteWithReason", proposal.id, int(support), reason)
    return await _send(governance, "voting", "castVote", proposal.id, int(support))


async def queue(governance: Governance, proposal: Proposal) -> TransactionReceipt:
    """Hand a proposal that succeeded to the timelock; anyone may.

    Raises:
        TransactionFailedError: GovernorUnexpectedProposalState.
        ChainError: the endpoint failed.
    """
    return await _send(governance, "queueing the proposal", "queue", *proposal.arguments())


async def execute(governance: Governance, proposal: Proposal) -> TransactionReceipt:
    """Have the timelock do what a queued proposal says, once its delay is over; anyone may.

    Raises:
        TransactionFailedError: GovernorUnexpectedProposalState, TimelockUnexpectedOperationState, or what a call met.
        ChainError: the endpoint failed.
    """
    return await _send(governance, "executing the proposal", "execute", *proposal.arguments())


async def cancel(governance: Governance, proposal: Proposal) -> TransactionReceipt:
    """Take back an own proposal before voting begins.

    Raises:
        TransactionFailedError: GovernorUnableToCancel.
        ChainError: the endpoint failed.
    """
    return await _send(governance, "cancelling the proposal", "cancel", *proposal.arguments())


async def _send(governance: Governance, action: str, function: str, *arguments: object) -> TransactionReceipt:
    return await governance.send(action, GOVERNOR, governance.contracts.governor, function, *arguments)
