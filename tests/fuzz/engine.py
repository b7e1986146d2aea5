"""The plain loop: mutate, run, watch. No coverage; `tests/fuzz/guided.py` has that where atheris is installed.

Call it inside trio's loop, which it never gives a turn: some readers ask trio for the time.

An input is a finding if anything but the promised errors comes out of its target, if it takes more than
INPUT_SECONDS_MAX of processor time, or if the process's peak memory grows by INPUT_GROWTH_BYTES_MAX under it.
"""

from __future__ import annotations

import random
import resource
import signal
import time
import traceback
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from tests.fuzz.mutation import mutate
from tests.fuzz.target import Target

INPUT_SECONDS_MAX = 3  # of processor time; the slowest honest input takes 30 ms
INPUT_GROWTH_BYTES_MAX = 128 << 20
POOL_INPUTS_MAX = 1024  # taken inputs that are mutated further
CHECK_EVERY = 256  # inputs between two looks at the clock
MEMORY_EVERY = 64  # and at the memory


class TookTooLongError(BaseException):
    """An input held the processor for INPUT_SECONDS_MAX; above Exception, so that no target can swallow it."""


@dataclass(frozen=True)
class Finding:
    """An input that broke a promise, and how: one line that is the same for the same defect, and the trace."""

    target: str
    data: bytes
    signature: str
    trace: str


@dataclass
class Outcome:
    """What a run over one target came to; findings by signature, one input each."""

    target: str
    inputs: int = 0
    taken: int = 0
    seconds: float = 0.0
    findings: dict[str, Finding] = field(default_factory=dict)


class Watch:
    """Interrupts an input that never ends: a timer of processor time, looked at once a second."""

    def __init__(self) -> None:
        self.serial = 0
        self._seen = -1
        self._ticks = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        former = signal.signal(signal.SIGVTALRM, self._tick)
        signal.setitimer(signal.ITIMER_VIRTUAL, 1.0, 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
            signal.signal(signal.SIGVTALRM, former)

    def _tick(self, _number: int, _frame: FrameType | None) -> None:
        self._ticks = self._ticks + 1 if self._seen == self.serial else 0
        self._seen = self.serial
        if self._ticks >= INPUT_SECONDS_MAX:
            self._ticks = 0
            raise TookTooLongError


def try_input(target: Target, data: bytes) -> tuple[bool, Finding | None]:
    """Run one input: whether it was taken, and what it broke."""
    try:
        return target.run(data), None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 # whatever comes out of a target is what is looked for
        return False, Finding(target.name, data, _signature(error), traceback.format_exc(limit=-12))


class MemoryWatch:
    """Sees inputs under which the process's peak grows; looks once in a while, for the look costs more than most."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._recent: list[bytes] = []
        self._peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def note(self, data: bytes) -> Finding | None:
        """To be called after each input; a finding where one of the last MEMORY_EVERY took too much."""
        self._recent.append(data)
        return self.look() if len(self._recent) >= MEMORY_EVERY else None

    def look(self) -> Finding | None:
        """Whether the peak has grown since the last look, and under which input it does again."""
        recent, self._recent = self._recent, []
        before, self._peak_kib = self._peak_kib, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (self._peak_kib - before) << 10 <= INPUT_GROWTH_BYTES_MAX:
            return None
        peaks = {}
        for data in recent:
            tracemalloc.start()
            try_input(self._target, data)
            peaks[data] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        worst = max(peaks, key=lambda data: peaks[data])
        if peaks[worst] <= INPUT_GROWTH_BYTES_MAX:
            return None  # many inputs together: a cache that fills
        return Finding(self._target.name, worst, "memory", f"it takes {peaks[worst] >> 20} MiB")


def _signature(error: BaseException) -> str:
    """The error's type and the last line of ours that it went through."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/fuzz/engine" not in frame.filename
    ]
    own = [frame for frame in frames if "/p2p_flock/" in frame.filename] or frames
    place = f"{own[-1].filename.rpartition('p2p_flock/')[2]}:{own[-1].name}" if own else "nowhere"
    return f"{type(error).__name__} in {place}"


def run_plain(target: Target, corpus: Sequence[bytes], *, inputs: int, seconds: float = 1e9, seed: int = 0) -> Outcome:
    """Run the seeds, the corpus, then mutations of both and of what was taken, until a bound is reached."""
    generator = random.Random(f"{target.name} {seed}")
    known = [*target.make_seeds(), *corpus]
    pool = list(known)
    watch, memory, outcome = Watch(), MemoryWatch(target), Outcome(target.name)
    started = time.monotonic()
    with watch.running():
        while outcome.inputs < inputs:
            if outcome.inputs % CHECK_EVERY == 0 and time.monotonic() - started > seconds:
                break
            is_known = outcome.inputs < len(known)
            data = known[outcome.inputs] if is_known else mutate(generator, pool, target)
            watch.serial += 1
            taken, finding = try_input(target, data)
            finding = memory.note(data) or finding
            outcome.inputs += 1
            outcome.taken += taken
            if finding is not None:
                outcome.findings.setdefault(finding.signature, finding)
            elif taken and not is_known:
                if len(pool) < POOL_INPUTS_MAX:
                    pool.append(data)
                else:
                    pool[generator.randrange(len(known), len(pool)) if len(known) < len(pool) else 0] = data
        if (last := memory.look()) is not None:
            outcome.findings.setdefault(last.signature, last)
    outcome.seconds = time.monotonic() - started
    return outcome
