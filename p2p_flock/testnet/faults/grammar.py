"""What ``--fault`` may say, and what it means. Pure; called by ``__main__.py``, ``options.py`` and the injector.

    KIND[:WHAT][@PHASE][#ROUND][,HOW LONG][,NODE]

    kill:leader@SEAL          kill:2 trainers@UNMASK#3     restart:validator@TRAIN,5s     restart:half@COMMIT,end
    freeze:half@EVALUATE,10s  partition:3/5@TRAIN,20s      rpc-down:validator,15s         chain-down,60s
    reorg:3@SETTLE            clock:+5s,node3              bootstrap-down

Everything that is not understood is refused with what may stand there: a fault that silently does nothing would be
taken for one that was survived.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from p2p_flock.errors import UsageError

SECONDS_MAX = 600.0  # how long a fault may last; a round of the testnet's preset is over, or void, within 90 s
COUNT_MAX = 64
DEPTH_MAX = 32  # blocks taken back; anvil keeps 64 states
CLOCK_SECONDS_MAX = 3600.0
GROUPS_MAX = 8
EXAMPLE = "'kill:leader@SEAL'"


class FaultKind(Enum):
    """What happens."""

    KILL = "kill"  # SIGKILL of the daemon; it does not come back
    RESTART = "restart"  # the same, and the same command again later
    FREEZE = "freeze"  # SIGSTOP of the daemon and its worker, SIGCONT later
    PARTITION = "partition"  # the nodes fall into groups that do not hear each other
    RPC_DOWN = "rpc-down"  # the node's RPC endpoint refuses
    CHAIN_DOWN = "chain-down"  # the chain itself stands still
    REORG = "reorg"  # the chain takes blocks back
    CLOCK = "clock"  # a node's clock is wrong, from the start
    BOOTSTRAP_DOWN = "bootstrap-down"  # the bootstrap node is killed


class FaultPhase(Enum):
    """The phases of a round; ``moments.py`` says which moment each means."""

    TRAIN = "TRAIN"
    SEAL = "SEAL"
    UNMASK = "UNMASK"
    EVALUATE = "EVALUATE"
    COMMIT = "COMMIT"
    SETTLE = "SETTLE"


class CutBy(Enum):
    """What cuts nodes off from each other in a partition."""

    AUTO = "auto"  # namespaces where they can be had, else the fault port
    NAMESPACES = "namespaces"
    FAULT_PORT = "fault-port"


class TargetKind(Enum):
    """Whom a fault may name."""

    LEADER = "leader"
    TRAINER = "trainer"
    VALIDATOR = "validator"
    NODE = "node"
    ALL = "all"
    HALF = "half"


@dataclass(frozen=True, slots=True)
class Target:
    """``count`` of a role, node number ``number`` (from 0), or many."""

    kind: TargetKind
    count: int = 1
    number: int | None = None

    @property
    def is_role(self) -> bool:
        """Whether the round's beacon decides who it is."""
        return self.kind in (TargetKind.LEADER, TargetKind.TRAINER, TargetKind.VALIDATOR)


@dataclass(frozen=True, slots=True)
class Fault:
    """One ``--fault``. What a kind does not use is ``None``.

    Attributes:
        text: as it was given.
        phase: ``None``: as soon as the round is open, where a role is named as soon as the roles are drawn.
        round: ``None``: the first training round.
        seconds: how long it lasts; ``None`` for good, unless ``until_round_end``.
        parts: sizes of a partition's groups.
        depth: blocks that a reorganisation takes back.
        offset_ms: how far a node's clock is ahead.
    """

    text: str
    kind: FaultKind
    target: Target | None = None
    phase: FaultPhase | None = None
    round: int | None = None
    seconds: float | None = None
    until_round_end: bool = False
    parts: tuple[int, ...] = ()
    depth: int | None = None
    offset_ms: int | None = None

    @property
    def ends(self) -> bool:
        """Whether what it breaks is mended again."""
        return self.seconds is not None or self.until_round_end


_TARGETED = (FaultKind.KILL, FaultKind.RESTART, FaultKind.FREEZE, FaultKind.RPC_DOWN)
_MUST_END = (
    *(FaultKind.RESTART, FaultKind.FREEZE, FaultKind.PARTITION, FaultKind.RPC_DOWN),
    FaultKind.CHAIN_DOWN,
)
_MAY_END_WITH_ROUND = tuple(kind for kind in _MUST_END if kind is not FaultKind.CHAIN_DOWN)
_TARGETS = "leader, trainer, validator, 2 trainers, 2 validators, node3, half or all"
_HEAD = re.compile(
    r"(?P<kind>[a-z-]+)(:(?P<what>[^@#,]*))?(@(?P<phase>[A-Za-z]*))?(#(?P<round>\w*))?", re.ASCII
)  # split off at the first comma
_SECONDS = re.compile(r"(?P<number>\d{1,6}(\.\d{1,3})?)(?P<unit>ms|s)", re.ASCII)
_COUNTED = re.compile(r"((?P<count>[0-9]{1,3}) )?(?P<role>leader|trainer|validator)(?P<plural>s?)", re.ASCII)


def parse_fault(text: str) -> Fault:
    """Read one ``--fault``.

    Raises:
        UsageError: with the text, what is wrong with it and what may be said instead.
    """
    head, *rest = (part.strip() for part in text.split(","))
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _refuse(text, f"expected KIND:WHAT@PHASE#ROUND,HOW LONG, for example {EXAMPLE}")
    try:
        kind = FaultKind(match["kind"])
    except ValueError:
        known = ", ".join(each.value for each in FaultKind)
        raise _refuse(text, f"there is no fault {match['kind']!r}; there are {known}") from None
    if kind is FaultKind.CLOCK:
        return _parse_clock(text, match, rest)
    what, takes_what = match["what"], (*_TARGETED, FaultKind.PARTITION, FaultKind.REORG)
    if what is not None and kind not in takes_what:
        raise _refuse(text, f"{kind.value} strikes no single node: write {kind.value} without ':{what}'")
    seconds, until_round_end = _parse_duration(text, kind, rest)
    target = _parse_target(text, what) if kind in _TARGETED else None
    is_all = target is not None and target.kind is TargetKind.ALL
    if is_all and (until_round_end or kind is FaultKind.KILL):
        raise _refuse(text, "nobody would be left to end the round; give seconds, for example 'restart:all@SEAL,5s'")
    return Fault(
        text,
        kind,
        target=target,
        phase=_parse_phase(text, match["phase"]),
        round=_parse_round(text, match["round"]),
        seconds=seconds,
        until_round_end=until_round_end,
        parts=_parse_parts(text, what) if kind is FaultKind.PARTITION else (),
        depth=_parse_depth(text, what) if kind is FaultKind.REORG else None,
    )


def validate_faults(faults: Sequence[Fault], nodes: int, rounds: int) -> None:
    """Check what needs the size of the network.

    Raises:
        UsageError: a node, a count, a partition or a round that the run does not have.
    """
    for fault in faults:
        target = fault.target
        if target is not None and target.number is not None and target.number >= nodes:
            raise _refuse(fault.text, f"there are node0 to node{nodes - 1}")
        if target is not None and target.count > nodes:
            raise _refuse(fault.text, f"there are {nodes} nodes")
        if fault.parts and sum(fault.parts) != nodes:
            raise _refuse(
                fault.text, f"the groups must make up {nodes} nodes, as {nodes // 2}/{nodes - nodes // 2} does"
            )
        if fault.round is not None and fault.round > rounds:
            raise _refuse(fault.text, f"training rounds are 1 to {rounds}; round 0 sums the statistics")


def _parse_target(text: str, what: str | None) -> Target:
    if what in ("all", "half"):
        return Target(TargetKind(what))
    if what is not None and (node := re.fullmatch(r"node(0|[1-9][0-9]{0,2})", what)) is not None:
        return Target(TargetKind.NODE, number=int(node[1]))
    match = _COUNTED.fullmatch(what or "")
    if match is None:
        raise _refuse(text, f"whom? Write one of {_TARGETS} after the ':'")
    kind, count = TargetKind(match["role"]), int(match["count"] or 1)
    if not 1 <= count <= COUNT_MAX or (kind is TargetKind.LEADER and count > 1):
        raise _refuse(text, f"there is one leader, and 1 to {COUNT_MAX} of the others")
    if bool(match["plural"]) != (count > 1):
        raise _refuse(text, f"write '{count} {kind.value}{'s' if count > 1 else ''}'")
    return Target(kind, count)


def _parse_phase(text: str, phase: str | None) -> FaultPhase | None:
    if phase is None:
        return None
    try:
        return FaultPhase(phase)
    except ValueError:
        known = ", ".join(each.value for each in FaultPhase)
        raise _refuse(text, f"there is no phase {phase!r}; there are {known}") from None


def _parse_round(text: str, number: str | None) -> int | None:
    if number is None:
        return None
    if re.fullmatch(r"[0-9]{1,6}", number) is None:
        raise _refuse(text, "a round is a number, as in '#3'")
    return int(number)


def _parse_duration(text: str, kind: FaultKind, rest: Sequence[str]) -> tuple[float | None, bool]:
    """Seconds and whether it lasts until the round's end."""
    may_end = kind in _MUST_END or kind is FaultKind.BOOTSTRAP_DOWN
    if rest and (not may_end or len(rest) > 1):
        raise _refuse(text, f"{', '.join(rest)!r} is one word too many")
    if not rest:
        if kind in _MUST_END:
            raise _refuse(text, f"how long? Write for example '{text.strip()},10s'")
        return None, False
    if rest[0] == "end":
        if kind not in _MAY_END_WITH_ROUND:
            raise _refuse(text, "'end', the end of the round, would never come; give seconds")
        return None, True
    return _seconds(text, rest[0], SECONDS_MAX), False


def _seconds(text: str, duration: str, seconds_max: float) -> float:
    match = _SECONDS.fullmatch(duration)
    if match is None:
        raise _refuse(text, f"{duration!r} is no time; write for example 10s or 500ms")
    seconds = float(match["number"]) / (1000 if match["unit"] == "ms" else 1)
    if not 0 < seconds <= seconds_max:
        raise _refuse(text, f"a time is more than 0 and at most {seconds_max:.0f}s")
    return seconds


def _parse_parts(text: str, what: str | None) -> tuple[int, ...]:
    if what is None or re.fullmatch(r"[1-9][0-9]?(/[1-9][0-9]?)+", what) is None:
        raise _refuse(text, "into what? Write the sizes of the groups, for example partition:3/5@TRAIN,20s")
    sizes = tuple(int(size) for size in what.split("/"))
    if len(sizes) > GROUPS_MAX:
        raise _refuse(text, f"into {GROUPS_MAX} groups at most")
    return sizes


def _parse_depth(text: str, what: str | None) -> int:
    if what is None or re.fullmatch(r"[0-9]{1,3}", what) is None or not 1 <= int(what) <= DEPTH_MAX:
        raise _refuse(text, f"how deep? Write 1 to {DEPTH_MAX} blocks, for example reorg:3@SETTLE")
    return int(what)


def _parse_clock(text: str, match: re.Match[str], rest: Sequence[str]) -> Fault:
    usage = "a clock is wrong from the start: write for example clock:+5s,node3 or clock:-500ms,node1"
    what = match["what"] or ""
    if match["phase"] is not None or match["round"] is not None or what[:1] not in ("+", "-") or len(rest) != 1:
        raise _refuse(text, usage)
    target = _parse_target(text, rest[0])
    if target.is_role:
        raise _refuse(text, "nobody has a role at the start: name a node, half or all")
    sign = -1 if what[0] == "-" else 1
    return Fault(
        text, FaultKind.CLOCK, target=target, offset_ms=sign * round(_seconds(text, what[1:], CLOCK_SECONDS_MAX) * 1000)
    )


def _refuse(text: str, reason: str) -> UsageError:
    return UsageError(f"--fault {text!r}: {reason}.")
