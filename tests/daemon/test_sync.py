"""A newcomer, or a node that slept, catches up from members that keep little and may lie."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trio.testing

from p2p_flock.alliance.model import Model, encode_model
from p2p_flock.chain_events import ChainEvent, RoundSettled
from p2p_flock.daemon.lineage import DISAGREEMENTS_MAX, ROUNDS_KEPT
from p2p_flock.daemon.sync import BEACONS_PER_PASS, FAR_SOURCES_MAX, manifest_pin
from p2p_flock.types import CohortOutcome
from p2p_flock.wire.codec import encode
from tests.daemon.alliance_past import Joiner, Past, Peer, unreadable_model


async def joined(folder: Path, past: Past) -> Joiner:
    """A member that is in sync, and holds nothing that it may forget of earlier rounds."""
    joiner = Joiner(folder, past)
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    joiner.net.pulled.clear()
    joiner.net.bytes_pulled = 0
    return joiner


async def test_newcomer__takes_one_model_and_few_aggregates(tmp_path: Path) -> None:
    """Joining would cost the whole past, which nobody keeps."""
    past = Past()
    past.play(20)
    joiner = Joiner(tmp_path, past)
    assert await joiner.advance()
    assert joiner.lineage.next_round == 20
    assert joiner.digest == past.models[-1].digest
    pulled = set(joiner.net.pulled)
    manifests = {hashlib.sha256(encode(manifest)).digest() for manifest in past.log.manifests.values()}
    assert pulled == manifests | {past.models[19].digest, past.aggregates[19]}
    assert joiner.net.batches[0] == 20  # all manifests in one question
    assert joiner.sync.progress.fetched_bytes == joiner.net.bytes_pulled


async def test_newcomer__in_the_first_rounds_replays(tmp_path: Path) -> None:
    """Before any model was confirmed, or one round later, there is nothing shorter than the aggregates."""
    past = Past()
    past.play(2)
    joiner = Joiner(tmp_path, past)
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    assert joiner.lineage.taken_up == []


async def test_sleeper__of_one_round_replays_it(tmp_path: Path) -> None:
    """A node would pull a model, twice as long as the aggregate, for every round it missed."""
    past = Past()
    past.play(5)
    joiner = await joined(tmp_path, past)
    past.play()
    joiner.restart()
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    assert past.aggregates[5] in joiner.net.pulled
    assert joiner.lineage.taken_up == []


async def test_sleeper__of_fifty_rounds(tmp_path: Path) -> None:
    """A node that slept could never come back, for nobody holds fifty rounds' aggregates."""
    past = Past()
    past.play(3)
    joiner = await joined(tmp_path, past)
    past.play(50)
    past.forget_before(53 - ROUNDS_KEPT)
    joiner.restart()
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    assert joiner.lineage.taken_up == [52]


async def test_member__in_sync_fetches_nothing(tmp_path: Path) -> None:
    """Every settled round would cost a pull although the aggregate was opened here."""
    past = Past()
    past.play(4)
    joiner = await joined(tmp_path, past)
    for _ in range(6):
        past.play()
        number = len(past.models) - 2
        joiner.blobs.put(past.contents[past.aggregates[number]])
        joiner.blobs.put(encode(past.log.manifests[number]))
        assert await joiner.advance()
    assert joiner.net.pulled == []
    assert joiner.digest == past.models[-1].digest


async def test_member__with_everything_here_does_not_jump(tmp_path: Path) -> None:
    """A node that was cut off from the chain for an hour, not from its peers, would believe instead of compute."""
    past = Past()
    past.play(4)
    joiner = await joined(tmp_path, past)
    past.play(10)
    for number in range(4, 14):
        joiner.blobs.put(past.contents[past.aggregates[number]])
    taken_up = list(joiner.lineage.taken_up)
    assert await joiner.advance()
    assert joiner.lineage.taken_up == taken_up
    assert joiner.digest == past.models[-1].digest


async def test_model__pull_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A large model over a bad link would begin anew every time, for ever."""
    past = Past()
    past.play(20)
    past.forget_before(20 - ROUNDS_KEPT)
    joiner = Joiner(tmp_path, past, {"member-0": Peer(past.contents, bytes_max=100)})
    passes = 0
    while not await joiner.advance():
        passes += 1
        assert len(joiner.part_files()) == 1
        joiner.restart()
        if passes == 2:
            past.play()  # a newer one is confirmed meanwhile; the one half here is finished first
    assert passes >= 2
    assert joiner.digest == past.models[-1].digest
    model_bytes = len(encode_model(past.models[-1]))
    others = sum(len(past.contents[digest]) for digest in joiner.net.pulled if digest != past.models[19].digest)
    assert joiner.net.bytes_pulled == model_bytes + others
    assert joiner.part_files() == []


async def test_model__that_nobody_keeps_any_more(tmp_path: Path) -> None:
    """A newcomer whose model vanished while it asked would wait for it for ever."""
    past = Past()
    past.play(20)
    joiner = Joiner(tmp_path, past)
    for number in (18, 19):
        past.contents.pop(past.models[number].digest)
    past.contents.pop(past.aggregates[19])
    assert not await joiner.advance()
    past.play()
    assert await joiner.advance()
    assert joiner.lineage.taken_up == [20]
    assert joiner.digest == past.models[-1].digest


async def test_model__older_one_serves_where_the_newest_cannot_be_had(tmp_path: Path) -> None:
    """One missing file would stop every newcomer although its neighbor does as well."""
    past = Past()
    past.play(20)
    past.contents.pop(past.models[19].digest)
    joiner = Joiner(tmp_path, past)
    assert await joiner.advance()
    assert joiner.lineage.taken_up == [18]
    assert joiner.digest == past.models[-1].digest


async def test_aggregate__that_vanished_is_passed_by(tmp_path: Path) -> None:
    """A node one round behind would hang on an aggregate that all members dropped."""
    past = Past()
    past.play(5)
    joiner = await joined(tmp_path, past)
    past.play()
    past.contents.pop(past.aggregates[5])
    assert not await joiner.advance()
    assert joiner.lineage.next_round == 5
    past.play()
    assert await joiner.advance()
    assert joiner.lineage.taken_up[-1] == 6
    assert joiner.digest == past.models[-1].digest


async def test_rounds__without_confirmed_model_are_replayed_from_the_last_one(tmp_path: Path) -> None:
    """Rejected, undecided and void rounds confirm nothing; a newcomer must get past them."""
    past = Past()
    past.play(10)
    past.play(1, adopted=False)
    past.play(1, base=bytes(32))
    past.void()
    past.play(1, base=bytes(32))
    joiner = Joiner(tmp_path, past)
    assert await joiner.advance()
    assert joiner.lineage.taken_up == [10]
    assert joiner.digest == past.models[-1].digest


@pytest.mark.parametrize("lie", [b"x" * 40, b"x" * (1 << 20), unreadable_model()], ids=["short", "long", "not_finite"])
async def test_peer__that_serves_another_model_is_passed_by(tmp_path: Path, lie: bytes) -> None:
    """One hostile member would give a newcomer its own model."""
    past = Past()
    past.play(20)
    joiner = Joiner(tmp_path, past, {"hostile": Peer(lie=lie), "member-1": Peer(past.contents)})
    for _ in range(2):  # once beginning with either
        assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    assert {path.stem for path in joiner.models.path(bytes(32)).parent.glob("*.safetensors")} <= {
        model.digest.hex() for model in past.models
    }


async def test_peers__that_all_lie_give_nothing(tmp_path: Path) -> None:
    """Bytes of another digest than the chain's would become the model."""
    past = Past()
    past.play(20)
    joiner = Joiner(tmp_path, past, {f"hostile-{i}": Peer(lie=encode_model(past.models[3])) for i in range(3)})
    assert not await joiner.advance()
    assert joiner.digest == past.models[0].digest
    assert joiner.part_files() == []


def wide_model() -> bytes:
    return encode_model(Model(np.linspace(1, 2, 3), np.zeros(7)))


@pytest.mark.parametrize("data", [unreadable_model(), wide_model(), b"no model at all" * 20])
async def test_confirmed_model__that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    """A lying quorum could end every newcomer's process, or have it train on values that are not numbers."""
    past = Past()
    past.play(19)
    digest = hashlib.sha256(data).digest()
    past.contents[digest] = data
    past.play(1, base=digest)
    joiner = Joiner(tmp_path, past)
    assert await joiner.advance()
    assert joiner.lineage.taken_up == [18]  # the quorum before it
    assert joiner.digest == past.models[-1].digest
    assert joiner.lineage.disagreement is not None


async def test_disagreement__one_quorum_changes_nothing(tmp_path: Path) -> None:
    """A quorum that lies once would move every honest node to its model; or nobody would hear of it."""
    past = Past()
    past.play(5)
    joiner = await joined(tmp_path, past)
    past.play(1, base=past.models[2].digest)
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    disagreement = joiner.lineage.disagreement
    assert disagreement is not None and past.models[2].digest.hex() in disagreement
    past.play()
    assert await joiner.advance()
    assert joiner.lineage.disagreement is None
    assert joiner.digest == past.models[-1].digest


async def test_disagreement__two_quorums_in_a_row_win(tmp_path: Path) -> None:
    """A node whose memory failed once would train and vote on its own model for ever."""
    past = Past()
    past.play(5)
    joiner = await joined(tmp_path, past)
    wrong = Model(joiner.lineage.model.statistics, joiner.lineage.model.parameters[:] + 1)
    joiner.lineage.model = wrong
    past.play(DISAGREEMENTS_MAX - 1)
    assert await joiner.advance()
    assert joiner.digest != past.models[-1].digest
    past.play()
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    assert joiner.lineage.disagreement is None
    joiner.restart()
    assert joiner.digest == past.models[-1].digest
    assert joiner.lineage.next_round == len(past.models) - 1


async def test_disagreement__with_a_model_that_nobody_has_goes_on(tmp_path: Path) -> None:
    """Two quorums that name what they do not serve would stop every honest node."""
    past = Past()
    past.play(5)
    joiner = await joined(tmp_path, past)
    past.play(4, base=b"\x07" * 32)
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest
    assert joiner.lineage.disagreement is not None


def reorganised(past: Past, round_number: int) -> tuple[list[ChainEvent], Past]:
    """The log with another outcome of one round, and all later rounds played anew on it."""
    other = Past()
    other.play(round_number)
    other.play(1, adopted=False)
    other.play(len(past.models) - 2 - round_number, salt=1)
    return other.log.events, other


async def test_reorg__below_a_model_that_was_taken_up(tmp_path: Path) -> None:
    """A node would go on from a model of a chain that is no more (P2)."""
    past = Past()
    past.play(20)
    joiner = await joined(tmp_path, past)
    assert joiner.lineage.taken_up == [19]
    events, other = reorganised(past, 15)
    history = other.history(events=events)
    joiner.net.peers["member-0"].contents = other.contents
    joiner.lineage.rewind(history)
    assert joiner.lineage.next_round == 0
    assert await joiner.advance(history)
    assert joiner.digest == other.models[-1].digest != past.models[-1].digest


async def test_reorg__of_the_round_after_the_model_keeps_the_model(tmp_path: Path) -> None:
    """Every short reorganisation would cost a newcomer the model it has just pulled."""
    past = Past()
    past.play(20)
    joiner = await joined(tmp_path, past)
    settled = next(e for e in past.log.events if isinstance(e, RoundSettled) and e.round == 19)
    history = past.history(events=past.log.events[: past.log.events.index(settled)])
    joiner.lineage.rewind(history)
    assert joiner.lineage.next_round == 19
    assert joiner.digest == past.models[19].digest
    rejected = replace(settled, outcomes=(CohortOutcome.REJECTED,))
    history.apply(rejected)
    assert await joiner.advance(history)
    assert joiner.digest == past.models[19].digest


async def test_reorg__while_the_model_is_fetched(tmp_path: Path) -> None:
    """What was begun under the old log would be finished on it, and stay."""
    past = Past()
    past.play(20)
    past.forget_before(20 - ROUNDS_KEPT)
    joiner = Joiner(tmp_path, past, {"member-0": Peer(past.contents, bytes_max=100)})
    assert not await joiner.advance()
    events, other = reorganised(past, 15)
    history = other.history(events=events)
    joiner.net.peers = {"member-0": Peer(other.contents)}
    joiner.lineage.rewind(history)
    assert await joiner.advance(history)
    assert joiner.digest == other.models[-1].digest
    assert joiner.part_files() == []


async def test_current_model__damaged_on_disk_is_fetched(tmp_path: Path) -> None:
    """One flipped bit would end a node until its operator removes a file."""
    past = Past()
    past.play(12)
    joiner = await joined(tmp_path, past)
    joiner.models.path(joiner.digest).write_bytes(b"flipped")
    joiner.restart()
    assert joiner.lineage.next_round == 0
    assert await joiner.advance()
    assert joiner.digest == past.models[-1].digest


async def test_members__keep_what_a_newcomer_needs_and_no_more(tmp_path: Path) -> None:
    """A disk would fill with old models, or a newcomer would find nothing."""
    past = Past()
    past.play(1)
    joiner = await joined(tmp_path, past)
    for _ in range(3 * ROUNDS_KEPT):
        past.play()
        assert await joiner.advance()
    held = {path.stem for path in joiner.models.path(bytes(32)).parent.glob("*.safetensors")}
    recent = {model.digest.hex() for model in past.models[-ROUNDS_KEPT - 1 :]}
    assert held == recent | {past.models[0].digest.hex()}
    pins = {path.name for path in (tmp_path / "blobs" / "pins").iterdir()}
    contract = past.history().domain.contract.hex()
    first = len(past.models) - 1 - ROUNDS_KEPT
    rounds = {f"{contract}-aggregate-{number}" for number in range(first, first + ROUNDS_KEPT)}
    assert pins == rounds | {manifest_pin(past.history())}
    assert len(list((tmp_path / "blobs" / "pins" / manifest_pin(past.history())).iterdir())) == len(past.models) - 1


async def test_manifest__withheld_one_stops_nothing_but_itself(tmp_path: Path) -> None:
    """A model would be taken up by a node that cannot know anybody's key; or the others would be asked for again."""
    past = Past()
    past.play(20)
    withheld = hashlib.sha256(encode(past.log.manifests[7])).digest()
    data = past.contents.pop(withheld)
    joiner = Joiner(tmp_path, past)
    history = past.history()
    for _ in range(3):
        assert not await joiner.advance(history)
    assert joiner.net.batches == [20, 1, 1]
    joiner.restart()
    past.contents[withheld] = data
    assert await joiner.advance()
    assert joiner.net.batches == [20, 1, 1, 1, 1]  # the withheld one, and the last round's aggregate
    assert joiner.digest == past.models[-1].digest


async def test_beacons__of_void_rounds_are_bounded_and_patient(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """A relay that is down would be asked without a pause, or a long list of void rounds all at once."""
    past = Past()
    past.play(3)
    for _ in range(BEACONS_PER_PASS + 6):
        past.void()
    joiner = Joiner(tmp_path, past)
    joiner.beacon.fails = 2
    history = past.history()
    assert not await joiner.advance(history)
    assert len(joiner.beacon.asked) == BEACONS_PER_PASS
    assert not await joiner.advance(history)  # at once: the relay is given a moment
    assert len(joiner.beacon.asked) == BEACONS_PER_PASS
    mock_clock.jump(1.0)
    assert await joiner.advance(history)
    assert sorted(set(joiner.beacon.asked)) == [103 + number for number in range(BEACONS_PER_PASS + 6)]
    joiner.beacon.asked.clear()
    assert await joiner.advance(history)
    assert joiner.beacon.asked == []


async def test_sources__begin_with_another_member_every_time(tmp_path: Path) -> None:
    """One member would serve all newcomers, or one liar would be first in every pass."""
    joiner = Joiner(tmp_path, Past(), {f"member-{i}": Peer() for i in range(20)})
    members = [f"member-{i}" for i in range(20)] + [f"away-{i}" for i in range(20)]
    chosen = [joiner.sync.choose_sources(members) for _ in range(20)]
    assert {one[0] for one in chosen} == {f"member-{i}" for i in range(20)}
    assert all(len(one) == 20 + FAR_SOURCES_MAX for one in chosen)
    assert {one[20] for one in chosen} == {f"away-{i}" for i in range(20)}
    assert joiner.sync.choose_sources(["away-0"]) == ["away-0"]
    assert joiner.sync.choose_sources([]) == []
