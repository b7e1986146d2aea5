"""What an account earned, claimed and paid for gas: the operator's books."""

from __future__ import annotations

from pathlib import Path

from p2p_flock.alliance.earnings import compute_earnings
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.chain.sent import parse_receipt
from p2p_flock.daemon.gas_book import GasBook
from p2p_flock.daemon.income import NO_INCOME, Income, compute_income
from tests.unit.alliance_log import owner_of
from tests.unit.test_alliance_history import begun, fold

HASH = bytes(32)


def test_income__earned_is_what_the_records_owe_and_evidence(tmp_path: Path) -> None:
    """An operator would be told of another income than the chain's."""
    log = begun()
    for _ in range(3):
        log.seal()
        log.settle()
        log.open()
    log.slash(5)  # "poster" is paid a tenth of 10^17 for it
    log.seal()
    log.settle()
    history = fold(log)
    earnings = compute_earnings(history, owner_of("sealer"))
    assert compute_income(history, owner_of("sealer"), earnings, {0: 3, 2: 3}, 0) == Income(4 * 3, 2 * 3)
    assert compute_income(history, owner_of("sealer"), earnings, {}, 10**18) == Income(12, 12), "the pool's rest"
    poster = owner_of("poster")
    assert compute_income(history, poster, (), {}, 10**16) == Income(10**16, 0)
    assert compute_income(history, poster, (), {}, 0) == Income(10**16, 10**16)
    assert compute_income(history, owner_of("stranger"), (), {}, 0) == NO_INCOME


def test_gas_book__counts_across_restarts(tmp_path: Path) -> None:
    """A restart would forget what was spent, or a fee on L1 would stay hidden."""
    path = tmp_path / "gas.json"
    book = GasBook(path, 8453)
    book.note(TransactionReceipt(HASH, 21_000, 1, 1, 10))
    book.note(TransactionReceipt(HASH, 100, 2, 0, 10, l1_fee_wei=7))  # failed, and paid for
    again = GasBook(path, 8453)
    assert (again.spent_wei, again.transaction_count, again.since_s) == (211_007, 2, book.since_s)
    assert GasBook(path, 10).spent_wei == 0, "another chain's"


def test_gas_book__a_damaged_file_costs_the_count_only(tmp_path: Path) -> None:
    """A node would not start for want of a statistic."""
    path = tmp_path / "gas.json"
    for content in (b"", b"[" * 9_000, b"[]", b'{"spent_wei": "x"}', b'{"chain_id": 1, "spent_wei": "-4"}', b"\xff"):
        path.write_bytes(content)
        assert GasBook(path, 1).spent_wei == 0
    book = GasBook(tmp_path / "gone" / "gas.json", 1)
    book.note(TransactionReceipt(HASH, 5, 1, 1, 2))
    assert book.spent_wei == 10


def test_receipt__the_fee_on_l1_is_read_and_not_compared() -> None:
    """Two endpoints of an OP chain, one of which hides it, would be taken for liars."""
    answer = {"gasUsed": "0x5208", "blockNumber": "0x1", "status": "0x1", "effectiveGasPrice": "0x2"}
    with_fee, without = parse_receipt(HASH, {**answer, "l1Fee": "0x64"}), parse_receipt(HASH, dict(answer))
    assert (with_fee.cost_wei, without.cost_wei) == (42_100, 42_000)
    assert with_fee == without and hash(with_fee) == hash(without)
