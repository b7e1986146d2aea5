"""What a join declares, and who may join at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from p2p_flock.alliance.allowlist import NO_ALLOWLIST, compute_allowlist_root, is_on_allowlist
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.daemon.admission import describe_admission, parse_allowlist
from p2p_flock.daemon.member import Membership, compute_weight
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError, UsageError
from p2p_flock.testnet.options import alliance_params
from p2p_flock.types import AllianceId

NOW_S = 1_800_000_000
OWNERS = tuple(bytes([number]) * 20 for number in (3, 7, 9))
MEMBER, STRANGER = OWNERS[1], bytes([8]) * 20


@pytest.mark.parametrize(
    ("examples", "step", "weight"),
    [(0, 8, 1), (3, 8, 1), (41, 8, 5), (8_000_000, 8, 64), (41, 1, 41), (41, 16, 3)],
)
def test_weight__is_a_coarse_capped_bucket(examples: int, step: int, weight: int) -> None:
    """An exact count would be public, or a huge one would outweigh everybody."""
    params = alliance_params(8, 1)
    assert params.weight_max == 64
    assert compute_weight(examples, params, step) == weight


def handle_of(allowlist: tuple[bytes, ...] = (), **changes: int | bytes) -> AllianceHandle:
    """An alliance as the chain describes it."""
    params = replace(alliance_params(8, 1), **{"allowlist_root": compute_allowlist_root(allowlist), **changes})  # type: ignore[arg-type]  # by name
    return cast(AllianceHandle, SimpleNamespace(params=params, terms=SimpleNamespace(allowlist=allowlist)))


def membership_of(owner: bytes, folder: Path) -> Membership:
    return Membership(cast(World, SimpleNamespace(home=folder, chain=SimpleNamespace(address=owner))))


def test_admission__needs_no_proof_where_all_may_join(tmp_path: Path) -> None:
    """Nobody could join an open alliance."""
    assert membership_of(STRANGER, tmp_path).check_admission(handle_of(), NOW_S) == ()


def test_admission__finds_the_proof_in_the_factorys_log(tmp_path: Path) -> None:
    """A member on the list would be refused by the contract."""
    proof = membership_of(MEMBER, tmp_path).check_admission(handle_of(OWNERS), NOW_S)
    assert is_on_allowlist(compute_allowlist_root(OWNERS), MEMBER, proof)


@pytest.mark.parametrize(
    ("handle", "says"),
    [
        pytest.param(handle_of(OWNERS), "not on the allowlist", id="bad_account"),
        pytest.param(handle_of(join_deadline_s=NOW_S - 1), "join deadline has passed", id="bad_time"),
        pytest.param(handle_of(absence_slash_bps=50), "challenge of absence", id="bad_absence_slash"),
    ],
)
def test_admission__is_refused_before_anything_is_sent(handle: AllianceHandle, says: str, tmp_path: Path) -> None:
    """Gas would be paid for what the contract refuses, or a stake for what this node cannot do."""
    with pytest.raises(UsageError, match=says):
        membership_of(STRANGER, tmp_path).check_admission(handle, NOW_S)


def test_admission__does_not_believe_a_log_with_another_list(tmp_path: Path) -> None:
    """A lying endpoint would tell a member that it is not on the list."""
    handle = handle_of(OWNERS[:2], allowlist_root=compute_allowlist_root(OWNERS))
    with pytest.raises(ChainError, match="another allowlist"):
        membership_of(OWNERS[2], tmp_path).check_admission(handle, NOW_S)


def test_admission__is_told_as_it_is() -> None:
    """The join screen would promise what the contract refuses."""
    assert describe_admission(handle_of(), STRANGER, NOW_S) == {
        **{"listed_owners": None, "is_listed": None},
        **{"join_deadline_s": None, "is_over": False},
    }
    told = describe_admission(handle_of(OWNERS, join_deadline_s=NOW_S), MEMBER, NOW_S)
    assert told == {"listed_owners": 3, "is_listed": True, "join_deadline_s": NOW_S, "is_over": False}
    told = describe_admission(handle_of(OWNERS, join_deadline_s=NOW_S), STRANGER, NOW_S + 1)
    assert (told["is_listed"], told["is_over"]) == (False, True)


def test_allowlist__of_a_command_is_checked_against_its_root() -> None:
    """An escrow would be sent into a refusal, or an alliance made for others than the creator listed."""
    texts = ["0x" + owner.hex() for owner in OWNERS]
    assert parse_allowlist(texts, compute_allowlist_root(OWNERS)) == OWNERS
    assert parse_allowlist([], NO_ALLOWLIST) == ()
    for values, root in (
        (texts, NO_ALLOWLIST),
        ([], compute_allowlist_root(OWNERS)),
        (texts[::-1], compute_allowlist_root(OWNERS)),
        ([*texts, "0x12"], compute_allowlist_root(OWNERS)),
        ([*texts, 12], compute_allowlist_root(OWNERS)),
    ):
        with pytest.raises(UsageError):
            parse_allowlist(values, root)


@pytest.mark.parametrize(
    ("alliance_id", "problem", "remedy"),
    [
        (AllianceId(8453, bytes([1]) * 20, 0), "is on chain 8453, this node on 84530", "chain.rpc_urls"),
        (AllianceId(84_530, bytes([2]) * 20, 0), "made by another factory", "Check the ID"),
    ],
)
def test_id__of_another_chain_or_factory(tmp_path: Path, alliance_id: AllianceId, problem: str, remedy: str) -> None:
    """A member would look for its alliance on the wrong chain, or stake in a stranger's contract."""
    chain = SimpleNamespace(chain_id=84_530, factory="0x" + "01" * 20)
    world = SimpleNamespace(home=tmp_path, config=SimpleNamespace(chain=chain))
    membership = Membership(cast(World, world))
    membership.check_id(AllianceId(84_530, bytes([1]) * 20, 7))
    with pytest.raises(UsageError, match=f"(?s){problem}.*\n.*{remedy}"):
        membership.check_id(alliance_id)
