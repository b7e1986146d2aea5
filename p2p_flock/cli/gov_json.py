"""Governance as JSON objects, for scripts: money and IDs as decimal text, addresses and bytes as hex. Pure."""

from __future__ import annotations

from p2p_flock.chain.emission import Emission
from p2p_flock.chain.governance import GovernanceContracts
from p2p_flock.chain.governed_calls import read_call
from p2p_flock.chain.locks import Lock, LockAccount
from p2p_flock.chain.proposals import GovernedCall, Proposal, Standing
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.cli.gov_words import describe_call, description_lines


def hex_text(data: bytes) -> str:
    return "0x" + data.hex()


def call_json(contracts: GovernanceContracts, call: GovernedCall) -> dict[str, object]:
    """A call: all of its bytes, and its words; ``function`` is null where the words are not all of it."""
    read = read_call(contracts, call)
    return {
        "target": hex_text(call.target),
        "value_wei": str(call.value_wei),
        "data": hex_text(call.data),
        "function": None if read is None else f"{read.contract}.{read.function}",
        "words": describe_call(contracts, call),
    }


def proposal_json(contracts: GovernanceContracts, proposal: Proposal, standing: Standing) -> dict[str, object]:
    """A proposal and how it stands; votes in gmFLOCK wei, ``quorum`` and ``own_votes`` null before voting begins."""
    return {
        "id": str(proposal.id),
        "id_hex": f"0x{proposal.id:064x}",
        "proposer": hex_text(proposal.proposer),
        "state": standing.state.name.lower(),
        "vote_start_s": proposal.vote_start_s,
        "vote_end_s": proposal.vote_end_s,
        "executable_at_s": standing.executable_at_s or None,
        "votes_for": str(standing.votes_for),
        "votes_against": str(standing.votes_against),
        "votes_abstain": str(standing.votes_abstain),
        "quorum": None if standing.quorum is None else str(standing.quorum),
        "has_voted": standing.has_voted,
        "own_votes": None if standing.own_votes is None else str(standing.own_votes),
        "calls": [call_json(contracts, call) for call in proposal.calls],
        "description": "\n".join(description_lines(proposal)),
    }


def receipt_json(receipt: TransactionReceipt) -> dict[str, object]:
    """The transaction, its block, its gas."""
    return {"transaction": hex_text(receipt.hash), "block": receipt.block, "gas_used": receipt.gas_used}


def lock_json(lock: Lock) -> dict[str, object]:
    """A lock; FLOCK and gmFLOCK in wei."""
    return {
        "id": lock.id,
        "unlocks_at_s": lock.unlocks_at_s,
        "amount": str(lock.amount_wei),
        "gm": str(lock.gm_wei),
    }


def account_json(address: bytes, account: LockAccount, now_s: int) -> dict[str, object]:
    """What an account holds; all amounts in wei."""
    return {
        "address": hex_text(address),
        "now_s": now_s,
        "flock": str(account.flock_wei),
        "gm": str(account.gm_wei),
        "locked_gm": str(account.locked_gm_wei),
        "votes": str(account.votes_wei),
        "delegate": hex_text(account.delegate) if any(account.delegate) else None,
        "locks": [lock_json(lock) for lock in account.locks],
    }


def emission_json(emission: Emission) -> dict[str, object]:
    """The schedule and its gauges; FLOCK in wei."""
    return {
        "now_s": emission.now_s,
        "starts_at_s": emission.starts_at_s,
        "ends_at_s": emission.ends_at_s,
        "month": emission.month,
        "next_day": str(emission.next_day_wei),
        "released": str(emission.released_wei),
        "minted": str(emission.minted_wei),
        "total": str(emission.total_wei),
        "total_weight": str(emission.total_weight),
        "gauges": [
            {
                "address": hex_text(gauge.address),
                "weight": str(gauge.weight),
                "accrued": str(gauge.accrued_wei),
                "minted": str(gauge.minted_wei),
            }
            for gauge in emission.gauges
        ],
    }
