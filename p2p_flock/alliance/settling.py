"""From what the chain's log says to the calldata that commits and settles: the seal, the order, what stays unopened.

Pure. The contract keeps a hash of the running round's seal, one rolling hash of all commitments and a bitmap; whoever
wants to go on shows it what was hashed. Called by whoever posts (``daemon/driver.py``, ``daemon/upkeep.py``, the
simulator) with the newest state of the log, not with what a machine was told: a ballot that somebody else put on chain
meanwhile must be shown again by whoever ends the round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from p2p_flock.alliance.evidence import SealStatement
from p2p_flock.alliance.history import RoundRecord
from p2p_flock.chain_events import BallotRevealed
from p2p_flock.errors import UsageError
from p2p_flock.wire.messages import Ballot


@dataclass(frozen=True, slots=True)
class Settlement:
    """Arguments of ``settleRound``.

    Attributes:
        order: all committed positions in the order in which the chain took them.
        unopened: commitments, in ``order``, of the positions without a ballot here; 32 bytes each.
        positions, ballots: ascending by position; ``ballots[i]`` is the ballot of ``positions[i]``.
    """

    seal: SealStatement
    order: tuple[int, ...]
    unopened: tuple[bytes, ...]
    positions: tuple[int, ...]
    ballots: tuple[Ballot, ...]


def get_seal_statement(record: RoundRecord) -> SealStatement:
    """The seal that the chain holds, which committing and settling show.

    Raises:
        UsageError: the round is not sealed.
    """
    sealed = record.sealed
    if sealed is None:
        raise UsageError(f"round {record.opened.round} is not sealed: there is nothing to commit to or to settle yet")
    survivors = b"".join(word.to_bytes(32, "big") for word in sealed.survivors)
    beacon_round = record.opened.beacon_round
    return SealStatement(sealed.round, sealed.view, beacon_round, sealed.seed, sealed.manifest_digest, survivors)


def make_settlement(record: RoundRecord, ballots: Mapping[int, Ballot]) -> Settlement:
    """What to post with these ballots (by position) and with all that the log holds in full.

    Ballots of positions that the log has no commitment of are left out.

    Raises:
        UsageError: the round is not sealed.
    """
    seal = get_seal_statement(record)
    known = {**get_recorded(record), **ballots}
    shown = {position: known[position] for position in sorted(known) if position in record.commitments}
    order = tuple(record.commitments)  # the fold keeps the order of the log
    unopened = tuple(record.commitments[position] for position in order if position not in shown)
    return Settlement(seal, order, unopened, tuple(shown), tuple(shown.values()))


def get_recorded(record: RoundRecord) -> dict[int, Ballot]:
    """The ballots by position that were put on chain, in full, before the round's end."""
    if record.sealed is None:
        return {}
    seal = record.sealed.seal
    return {position: _open(seal, event) for position, event in record.reveals.items() if event.salt}


def _open(seal: bytes, event: BallotRevealed) -> Ballot:
    return Ballot(
        seal,
        event.base_model_digest,
        event.verdicts,
        event.grades,
        event.score_micro,
        event.aggregate_digests,
        event.salt,
    )
