"""Each target over its seeds, its corpus and a few thousand mutations of them; longer runs: ``scripts/fuzz``."""

from __future__ import annotations

import base64

import pytest

from tests.fuzz import engine
from tests.fuzz.corpus import FOLDER, INPUT_BYTES_MAX, TARGET_BYTES_MAX, read_corpus
from tests.fuzz.engine import TookTooLongError, run_plain
from tests.fuzz.reaching import explore, trace
from tests.fuzz.registry import TARGETS
from tests.fuzz.run import parse
from tests.fuzz.target import Form, Target

INPUTS = 1500  # of a target of weight 1; beside the corpus
CORPUS_BYTES_MAX = 2_000_000


@pytest.mark.parametrize("name", TARGETS)
async def test_target__keeps_its_promises(name: str) -> None:
    """A stranger's bytes would end the process, hang it or fill its memory (P7). Repeat with the bytes printed."""
    target, corpus = TARGETS[name], read_corpus(name)
    outcome = run_plain(
        target, corpus, inputs=len(corpus) + len(target.make_seeds()) + round(INPUTS * min(1.0, target.weight))
    )
    assert not outcome.findings, "\n".join(
        f"{finding.signature}: {base64.b64encode(finding.data).decode()}\n{finding.trace}"
        for finding in outcome.findings.values()
    )


@pytest.mark.parametrize("name", TARGETS)
async def test_seeds__are_mostly_taken(name: str) -> None:
    """A target whose seeds are refused at the door would test the door for ever."""
    target = TARGETS[name]
    taken = [target.run(seed) for seed in target.make_seeds()]
    assert 2 * sum(taken) >= len(taken) and any(taken)
    assert all(len(seed) <= target.bytes_max for seed in target.make_seeds() if name != "journal")


def test_corpus__is_of_known_targets_and_small() -> None:
    """The repository would grow with every run, by inputs that nothing reads."""
    paths = sorted(FOLDER.glob("*"))
    assert {path.stem for path in paths} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in paths) <= CORPUS_BYTES_MAX
    for path in paths:
        inputs = read_corpus(path.stem)
        assert len(set(inputs)) == len(inputs) and max(map(len, inputs)) <= INPUT_BYTES_MAX
        assert sum(map(len, inputs)) <= TARGET_BYTES_MAX


# The engine itself: it must see what it looks for.


def make_target(run: object) -> Target:
    return Target("planted", run, lambda: [b"seed" * 8], Form.TEXT)  # type: ignore[arg-type]


def raise_on_one_bit(data: bytes) -> bool:
    if data[:1] == b"r":
        raise KeyError("planted")
    return True


async def test_engine__finds_a_planted_defect_once() -> None:
    """Ten million inputs would find nothing because nothing is looked at."""
    outcome = run_plain(make_target(raise_on_one_bit), (), inputs=10_000)
    (finding,) = outcome.findings.values()
    assert finding.data[:1] == b"r" and "KeyError" in finding.signature
    assert outcome.inputs == 10_000 and 0 < outcome.taken < 10_000


async def test_engine__interrupts_what_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that hangs would hang the run, and nobody would learn on what."""
    monkeypatch.setattr(engine, "INPUT_SECONDS_MAX", 1)

    def hang(data: bytes) -> bool:
        while data[:4] == b"seed":
            pass
        return True

    outcome = run_plain(make_target(hang), (), inputs=1)
    (finding,) = outcome.findings.values()
    assert finding.signature.startswith(TookTooLongError.__name__)


async def test_engine__sees_memory() -> None:
    """A reader that allocates what a stranger announces would pass."""
    target = make_target(lambda data: len(b"x" * (1 << (28 if data == b"seed" * 8 else 10))) > 0)
    outcome = run_plain(target, (), inputs=200)
    assert outcome.findings["memory"].data == b"seed" * 8


async def test_engine__repeats_itself_by_seed() -> None:
    """A finding could not be found again."""
    seen: list[list[bytes]] = [[], []]
    for inputs in seen:
        run_plain(make_target(lambda data, inputs=inputs: inputs.append(data) or True), (), inputs=500, seed=7)
    assert seen[0] == seen[1] and len(set(seen[0])) > 300


def test_command__reads_its_bounds(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped target would fuzz nothing and say that all is well."""
    chosen = parse(["codec", "mdns", "--inputs", "5", "--seconds", "2.5", "--plain"])
    assert (chosen.target, chosen.inputs, chosen.seconds, chosen.plain) == (["codec", "mdns"], 5, 2.5, True)
    with pytest.raises(SystemExit):
        parse(["codex"])
    assert "codec" in capsys.readouterr().err


async def test_exploring__keeps_what_reaches_new_lines() -> None:
    """The corpus would be a heap of inputs that all do the same."""
    target = TARGETS["address"]
    kept = explore(target, [b"/ip4/192.0.2.7/tcp/4101", b"/ip4/192.0.2.8/tcp/4101", b""], inputs=200, seed=1)
    reached = {line for seed in target.make_seeds() for line in trace(target, seed)}
    for data in kept:
        assert not trace(target, data) <= reached
        reached |= trace(target, data)
    assert kept and not {b"/ip4/192.0.2.7/tcp/4101", b"/ip4/192.0.2.8/tcp/4101"} & set(kept)
