"""What ``--fault`` may say: every form, and a plain word for every mistake."""

from __future__ import annotations

import pytest

from p2p_flock.errors import UsageError
from p2p_flock.testnet.faults.grammar import (
    Fault,
    FaultKind,
    FaultPhase,
    Target,
    TargetKind,
    parse_fault,
    validate_faults,
)

LEADER, TRAINER, VALIDATOR = TargetKind.LEADER, TargetKind.TRAINER, TargetKind.VALIDATOR
KILL, RESTART, FREEZE = FaultKind.KILL, FaultKind.RESTART, FaultKind.FREEZE
FORMS = [
    ("kill:leader@SEAL", {"kind": KILL, "target": Target(LEADER), "phase": FaultPhase.SEAL}),
    ("kill:2 trainers@UNMASK", {"kind": KILL, "target": Target(TRAINER, 2), "phase": FaultPhase.UNMASK}),
    ("kill:1 trainer", {"kind": KILL, "target": Target(TRAINER)}),
    (
        "kill:node3@TRAIN#4",
        {"kind": KILL, "target": Target(TargetKind.NODE, 1, 3), "phase": FaultPhase.TRAIN, "round": 4},
    ),
    ("kill:half#0", {"kind": KILL, "target": Target(TargetKind.HALF), "round": 0}),
    (
        "restart:validator@COMMIT,5s",
        {"kind": RESTART, "target": Target(VALIDATOR), "phase": FaultPhase.COMMIT, "seconds": 5.0},
    ),
    (
        "restart:half@SETTLE,end",
        {"kind": RESTART, "target": Target(TargetKind.HALF), "phase": FaultPhase.SETTLE, "until_round_end": True},
    ),
    (
        "freeze:validator@EVALUATE#3,500ms",
        {"kind": FREEZE, "target": Target(VALIDATOR), "phase": FaultPhase.EVALUATE, "round": 3, "seconds": 0.5},
    ),
    (
        "partition:3/5@TRAIN,20s",
        {"kind": FaultKind.PARTITION, "parts": (3, 5), "phase": FaultPhase.TRAIN, "seconds": 20.0},
    ),
    ("rpc-down:validator,15s", {"kind": FaultKind.RPC_DOWN, "target": Target(VALIDATOR), "seconds": 15.0}),
    ("chain-down,60s", {"kind": FaultKind.CHAIN_DOWN, "seconds": 60.0}),
    ("chain-down@SEAL#2, 1.5s", {"kind": FaultKind.CHAIN_DOWN, "phase": FaultPhase.SEAL, "round": 2, "seconds": 1.5}),
    ("reorg:3@SETTLE", {"kind": FaultKind.REORG, "depth": 3, "phase": FaultPhase.SETTLE}),
    ("clock:+5s,node3", {"kind": FaultKind.CLOCK, "offset_ms": 5000, "target": Target(TargetKind.NODE, 1, 3)}),
    ("clock:-250ms,all", {"kind": FaultKind.CLOCK, "offset_ms": -250, "target": Target(TargetKind.ALL)}),
    ("bootstrap-down", {"kind": FaultKind.BOOTSTRAP_DOWN}),
    ("bootstrap-down@TRAIN,5s", {"kind": FaultKind.BOOTSTRAP_DOWN, "phase": FaultPhase.TRAIN, "seconds": 5.0}),
]


@pytest.mark.parametrize(("text", "fields"), FORMS)
def test_fault__says_what_is_meant(text: str, fields: dict[str, object]) -> None:
    """Another fault would strike than was asked for."""
    assert parse_fault(text) == Fault(text, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "for example 'kill:leader@SEAL'"),
        ("kill leader", "KIND:WHAT"),
        ("explode:leader", "there are kill, restart"),
        ("kill", "whom?"),
        ("kill:", "whom?"),
        ("kill:captain@SEAL", "whom?"),
        ("kill:node01", "whom?"),
        ("kill:2 leaders", "one leader"),
        ("kill:0 trainers", "1 to 64"),
        ("kill:2 trainer", "'2 trainers'"),
        ("kill:trainers", "'1 trainer'"),
        ("kill:leader@LUNCH", "there are TRAIN, SEAL"),
        ("kill:leader@seal", "there are TRAIN, SEAL"),
        ("kill:leader@", "there are TRAIN, SEAL"),
        ("kill:leader@SEAL#x", "'#3'"),
        ("kill:leader@SEAL#", "'#3'"),
        ("kill:leader@SEAL,5s", "too many"),
        ("restart:leader@SEAL", "how long?"),
        ("restart:leader@SEAL,5", "no time"),
        ("restart:leader@SEAL,5m", "no time"),
        ("restart:leader@SEAL,0s", "more than 0"),
        ("restart:leader@SEAL,601s", "at most 600s"),
        ("restart:leader@SEAL,5s,6s", "too many"),
        ("partition@TRAIN,5s", "sizes of the groups"),
        ("partition:8@TRAIN,5s", "sizes of the groups"),
        ("partition:0/8@TRAIN,5s", "sizes of the groups"),
        ("partition:3/5@TRAIN", "how long?"),
        ("reorg@SETTLE", "how deep?"),
        ("reorg:0@SETTLE", "how deep?"),
        ("reorg:33@SETTLE", "how deep?"),
        ("reorg:3@SETTLE,5s", "too many"),
        ("chain-down", "how long?"),
        ("chain-down,end", "never come"),
        ("chain-down:leader,5s", "no single node"),
        ("bootstrap-down:node1", "no single node"),
        ("kill:all@TRAIN", "nobody would be left"),
        ("restart:all@SETTLE,end", "nobody would be left"),
        ("partition:1/1/1/1/1/1/1/1/1@TRAIN,5s", "8 groups"),
        ("clock:5s,node3", "+5s,node3"),
        ("clock:+5s", "+5s,node3"),
        ("clock:+5s,trainer", "nobody has a role"),
        ("clock:+5s@TRAIN,node3", "from the start"),
        ("clock:+5h,node3", "no time"),
    ],
)
def test_fault__mistakes_are_told(text: str, says: str) -> None:
    """A mistyped fault would do nothing, and the run would count as one that survived it."""
    with pytest.raises(UsageError) as refused:
        parse_fault(text)
    assert says in str(refused.value) and repr(text) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kill:node8", "node0 to node7"),
        ("kill:9 trainers", "8 nodes"),
        ("partition:3/4@TRAIN,5s", "make up 8 nodes"),
        ("kill:leader@SEAL#4", "1 to 3"),
    ],
)
def test_fault__must_fit_the_network(text: str, says: str) -> None:
    """It would wait for a round or a node that never comes."""
    with pytest.raises(UsageError, match=says):
        validate_faults([parse_fault(text)], nodes=8, rounds=3)
    validate_faults([parse_fault(form) for form, _ in FORMS if "#4" not in form], nodes=8, rounds=3)
