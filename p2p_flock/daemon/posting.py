"""Commits and settles: what the contract asks for beside commitments and ballots comes from the log's newest state.

Called by the driver for the running round's machine, and by upkeep for a round that got stuck.
"""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.alliance.history import AllianceHistory, RoundRecord
from p2p_flock.alliance.settling import get_seal_statement, make_settlement
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.daemon.evidence_calls import encode_seal
from p2p_flock.errors import ChainError
from p2p_flock.ports import CommitRound
from p2p_flock.wire.messages import Ballot


async def post_commitments(
    handle: AllianceHandle, history: AllianceHistory, round_number: int, call: CommitRound
) -> None:
    """Post signed commitments to ballots of a sealed round.

    Raises:
        ChainError: refused, the endpoint failed, or a reorganisation took the seal.
    """
    await handle.commit_round(
        seal=encode_seal(get_seal_statement(_sealed(history, round_number))),
        positions=call.positions,
        commitments=call.commitments,
        signatures=call.signatures,
    )


async def post_ballots(
    handle: AllianceHandle, history: AllianceHistory, round_number: int, ballots: Mapping[int, Ballot]
) -> None:
    """Post ballots (by position) together with those that the log holds in full; settles where that is due.

    Raises:
        ChainError: refused, the endpoint failed, or a reorganisation took the seal.
    """
    settlement = make_settlement(_sealed(history, round_number), ballots)
    await handle.settle_round(
        seal=encode_seal(settlement.seal),
        order=bytes(settlement.order),
        unopened=settlement.unopened,
        positions=settlement.positions,
        ballots=settlement.ballots,
    )


def _sealed(history: AllianceHistory, round_number: int) -> RoundRecord:
    if round_number >= len(history.rounds) or history.rounds[round_number].sealed is None:
        raise ChainError(f"round {round_number} is not sealed any more: the chain was reorganised")
    return history.rounds[round_number]
