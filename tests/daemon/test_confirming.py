"""The gate between what the chain shows and what a machine acts on."""

from __future__ import annotations

from p2p_flock.alliance.confirming import ConfirmationGate
from p2p_flock.chain_events import BallotsCommitted, LogPosition, RoundSealed


def at(block: int) -> LogPosition:
    return LogPosition(block, 0, 1_000, bytes(32))


def sealed(block: int) -> RoundSealed:
    return RoundSealed(at(block), 3, 0, bytes(32), bytes(32), bytes(32), (7,), (0, 1), ())


def committed(block: int, *positions: int) -> BallotsCommitted:
    return BallotsCommitted(at(block), 3, positions, tuple(bytes(32) for _ in positions))


def test_gate__a_seal_waits_for_all_confirmations() -> None:
    """Unmasking after a seal that a reorg takes back would reveal more than one seal allows."""
    gate = ConfirmationGate(2)
    gate.add(sealed(10))
    assert gate.awaited_block == 12
    assert gate.release(11) == ()
    assert gate.release(12) == (sealed(10),)
    assert gate.release(13) == ()
    assert gate.awaited_block is None


def test_gate__commitments_wait_for_one_block() -> None:
    """A ballot shown before the others' commitments stand could be copied."""
    gate = ConfirmationGate(5)
    gate.add(committed(10, 0, 2))
    assert gate.release(10) == ()
    assert gate.committed == frozenset()
    assert gate.release(11) == (committed(10, 0, 2),)
    gate.add(committed(12, 1))
    gate.release(13)
    assert gate.committed == {0, 1, 2}


def test_gate__without_confirmations_nothing_waits() -> None:
    """An operator who asks for none, on a chain with instant finality, would lose a block time in every phase."""
    gate = ConfirmationGate(0)
    gate.add(sealed(10))
    gate.add(committed(10, 0))
    assert len(gate.release(10)) == 2
