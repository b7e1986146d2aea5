"""Answers of ``alliance.watch`` in every state, made up but consistent; for frames and for the fake daemon."""

from __future__ import annotations

from typing import Any, cast

from p2p_flock.daemon.watch_messages import (
    WATCH_FORMAT,
    EndedRoundResult,
    ParticipantResult,
    RunningRoundResult,
    StepResult,
    WatchResult,
    WorkResult,
)

ALLIANCE = "flock:84530:0x" + "ab" * 20 + ":0"
NOW_MS = 1_700_000_100_400
FLOCK = 10**18
STEPS = ("beacon", "train", "seal", "unmask", "evaluate", "commit", "settle")
PEERS = ("UZbN2Nz9ttwi", "Q7pLxCa4RkEd", "m3VvTYhs8WfG", "K5jDnBq2ZuXo", "t6HcPgL9aMyS", "e8RwFzJ4NbVk")

Items = dict[str, str]


def steps(running: str, seconds_left: int = 12, hidden: tuple[str, ...] = ()) -> list[StepResult]:
    """The timeline with one phase running."""
    now = STEPS.index(running)
    told: list[StepResult] = []
    for index, step in enumerate(STEPS):
        state = "done" if index < now else "running" if index == now else "hidden" if step in hidden else "coming"
        started = NOW_MS - 20_000 + 2_500 * index if index <= now else None
        told.append(
            {
                "step": step,
                "state": state,
                "started_ms": started,
                "ended_ms": started + 2_500 if started is not None and index < now else None,
                "deadline_ms": NOW_MS // 1000 * 1000 + seconds_left * 1000 + 1000 if index == now else None,
            }
        )
    return told


def participant(seat: int, role: str, items: Items, **changes: Any) -> ParticipantResult:
    """One row; connected, owed nothing, unless changed."""
    entry: dict[str, Any] = {
        "seat": seat,
        "peer_id": f"12D3KooW{PEERS[seat % 6]}{seat:04d}{PEERS[seat % 6][:6]}",
        "owner": f"0x{seat:04x}" + "12" * 16 + f"{seat:04x}",
        "role": role,
        "cohort": 0 if role == "trainer" else None,
        "is_eligible": True,
        "is_own": False,
        "is_connected": True,
        "seen_seconds_ago": 1,
        "is_awaited": False,
        "items": items,
        **changes,
    }
    return cast(ParticipantResult, entry)


def trainers(contributions: str, unmaskings: str = "not_due", own: Items | None = None) -> list[ParticipantResult]:
    """Seats 3 to 7; seat 4 is this node's where ``own`` is given."""
    items = {"contribution": contributions, "unmasking": unmaskings}
    others = [participant(seat, "trainer", dict(items)) for seat in range(3, 8)]
    if own is not None:
        others[1] = participant(4, "trainer", own, is_own=True)
    return others


def validators(
    have: str, commitment: str = "not_due", ballot: str = "not_due", own: int | None = None
) -> list[ParticipantResult]:
    """Seats 0 to 2."""
    items = {"have": have, "commitment": commitment, "ballot": ballot}
    return [participant(seat, "validator", dict(items), is_own=seat == own) for seat in range(3)]


def ended(number: int, outcome: str, **changes: Any) -> EndedRoundResult:
    """How a round ended."""
    votes = {"adopted": (3, 0), "rejected": (1, 2), "undecided": (1, 1)}.get(outcome)
    entry: dict[str, Any] = {
        "round": number,
        "outcome": "voided" if votes is None else "settled",
        "cohort_outcomes": [outcome] if votes else [],
        "trainers": 5,
        "trainers_by_cohort": [5],
        "survivors": 5 if votes else 0,
        "survivors_by_cohort": [5] if votes else [],
        "votes_for": [votes[0]] if votes else [],
        "votes_against": [votes[1]] if votes else [],
        "model_digest": "0x" + f"{number:02x}cd" * 16,
        "seconds": 8 if votes else 75,
        "role": "trainer",
        "judgement": None,
        "own_score": None,
        "local_only_score": None,
        **changes,
    }
    return cast(EndedRoundResult, entry)


JUDGED = {
    "loss_before": 0.6931, "score_before": 0.5, "losses_after": {"0": 0.6102}, "scores_after": {"0": 0.7034},
    "accepted": {"0": True},
}  # fmt: skip
SCORES = ({"own_score": 0.8451, "local_only_score": 0.7911}, {"own_score": 0.8451, "local_only_score": 0.7744},
          {"own_score": 0.7034, "local_only_score": 0.7208}, {"own_score": 0.5, "local_only_score": None})  # fmt: skip
ROUNDS = [
    ended(4, "rejected"), ended(3, "voided", **SCORES[0]),
    ended(2, "adopted", role="validator", judgement=JUDGED, **SCORES[1]), ended(1, "adopted", **SCORES[2]),
    ended(0, "adopted", role="none", **SCORES[3]),
]  # fmt: skip


def work(what: str, done: int, total: int, unit: str, seconds: float) -> WorkResult:
    """What the node is at, since so many seconds."""
    return {"what": what, "done": done, "total": total, "unit": unit, "started_ms": NOW_MS - int(seconds * 1000)}


def running(step: str, participants: list[ParticipantResult], role: str, **changes: Any) -> RunningRoundResult:
    """The running round, number 5."""
    is_sealed = STEPS.index(step) >= STEPS.index("unmask")
    entry: dict[str, Any] = {
        "round": 5,
        "stage": "training",
        "role": role,
        "step": step,
        "is_exact": role == "validator",
        "steps": steps(step),
        "participants": sorted(participants, key=lambda entry: not entry["is_awaited"]),
        "participant_count": len(participants),
        "cohorts": [
            {
                "cohort": 0,
                "trainers": 5,
                "held": 4 if role == "validator" else None,
                "survivors": 5 if is_sealed else None,
                "answered": 2 if is_sealed and role == "validator" else None,
                "threshold": 3,
            }
        ],
        "work": [],
        **changes,
    }  # fmt: skip
    return cast(RunningRoundResult, entry)


def answer(activity: str, round_now: RunningRoundResult | None, **changes: Any) -> WatchResult:
    """A whole answer; ``changes`` are of the alliance."""
    alliance: dict[str, Any] = {
        "alliance": ALLIANCE,
        "task": "heart",
        "round_count": 11,
        "settled_rounds": 4,
        "model_rounds": 5,
        "opened_rounds": 6,
        "seats": 8,
        "seat_count_min": 8,
        "closed": False,
        "counts": {"adopted": 3, "rejected": 1, "undecided": 0, "voided": 1},
        "model_digest": "0x" + "02cd" * 16,
        "own_seat": 4,
        "activity": activity,
        "activity_text": "training on own data",
        "activity_since_ms": NOW_MS - 7_900,
        "running": round_now,
        "rounds": ROUNDS,
        "standing": "joined",
        "release_at_s": None,
        "suspended_for": [],
        "suspected_for": [],
        "slashed": None,
        "strikes": 0,
        "rejections": None,
        "suspicion_bound": 0,
        "privacy": None,
        "holdings": {"stake": str(1_000 * FLOCK), "claimable": str(42 * FLOCK + FLOCK // 4),
                     "eth": str(FLOCK - 12 * 10**14), "flock": str(500 * FLOCK), "as_of_s": 1_700_000_099,
                     "earned_total": str(42 * FLOCK + FLOCK // 4), "claimed_total": "0",
                     "gas_spent_wei": str(12 * 10**14), "gas_since_s": 1_700_000_000},
        "score_name": "AUC",
        "local_only_note": None,
        **changes,
    }  # fmt: skip
    return {
        "format": WATCH_FORMAT, "now_ms": NOW_MS, "peer_id": "12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw",
        "address": "0x" + "12" * 20, "uptime_s": 3_725, "connected_peers": 8, "chain_id": 84_530, "block": 1_234,
        "chain_time_s": 1_700_000_100, "warnings": [],
        "cost": {"cpu_seconds": 61.5, "memory_bytes": 187_000_000, "worker_cpu_seconds": 30.2,
                 "worker_memory_bytes": 412_000_000, "bytes_sent": 1_234_567, "bytes_received": 8_765_432},
        "alliance": cast(Any, alliance),
    }  # fmt: skip


def _collecting() -> WatchResult:
    late = {"is_awaited": True, "is_connected": False, "seen_seconds_ago": 41}
    people = trainers("here")
    people[2] = participant(5, "trainer", {"contribution": "awaited", "unmasking": "not_due"}, **late)
    people[4] = participant(7, "trainer", {"contribution": "not_due", "unmasking": "not_due"}, is_eligible=False)
    works = [work("fetching", 3_400_000, 4_300_000, "bytes", 6.0)]
    round_now = running("train", [*people, *validators("not_due", own=1)], "validator", work=works)
    return answer("collecting", round_now, own_seat=1)


def _late() -> WatchResult:
    result = _collecting()
    assert result["alliance"] is not None and result["alliance"]["running"] is not None
    round_now = result["alliance"]["running"]
    round_now["step"], round_now["steps"] = "train", steps("train", seconds_left=-5)
    return result


def _crowd() -> WatchResult:
    people = [participant(seat, "trainer", {"contribution": "here", "unmasking": "not_due"}) for seat in range(3, 35)]
    for index in (4, 9, 30):
        people[index] = participant(
            index + 3, "trainer", {"contribution": "awaited", "unmasking": "not_due"}, is_awaited=True
        )
    cohorts = [{"cohort": 0, "trainers": 32, "held": 29, "survivors": None, "answered": None, "threshold": 17}]
    round_now = running("train", [*people, *validators("not_due", own=1)], "validator", cohorts=cohorts)
    return answer("collecting", round_now, own_seat=1, seats=35, seat_count_min=35)


def _judging() -> WatchResult:
    people = [*trainers("on_chain", "here"), *validators("on_chain", own=1)]
    people[4]["items"] = {"contribution": "missed", "unmasking": "not_due"}
    people[3]["items"]["unmasking"] = "refused"
    people[2]["items"]["unmasking"] = "needless"
    works = [work("judging", 1, 2, "candidates", 0.4)]
    return answer("judging", running("evaluate", people, "validator", work=works), own_seat=1)


def _opening() -> WatchResult:
    people = [*trainers("on_chain", "awaited"), *validators("on_chain", own=1)]
    for entry in people[:5]:
        entry["is_awaited"] = True
    people[0]["items"]["unmasking"], people[0]["is_awaited"] = "here", False
    people[1] |= {"is_connected": False, "seen_seconds_ago": 7}
    works = [work("unmasking", 2, 3, "shares", 2.5)]
    return answer("opening", running("unmask", people, "validator", work=works), own_seat=1)


def _committing() -> WatchResult:
    people = [*trainers("on_chain", "here"), *validators("on_chain", "here", own=1)]
    people[7]["items"]["commitment"], people[7]["is_awaited"] = "awaited", True
    return answer("committing", running("commit", people, "validator"), own_seat=1, strikes=1)


def _no_alliance() -> WatchResult:
    result = answer("closed", None)
    return {**result, "alliance": None, "warnings": ["no peer is connected: check net.bootstrap and the firewall"]}


TRAINER_SEES = [
    *trainers("unknown", own={"contribution": "awaited", "unmasking": "not_due"}),
    *validators("unknown"),
]
SEALED_SEEN = [
    *trainers("on_chain", "unknown", own={"contribution": "on_chain", "unmasking": "here"}),
    *validators("on_chain", "unknown"),
]

SAMPLES: dict[str, WatchResult] = {
    "training": answer(
        "training",
        running("train", TRAINER_SEES, "trainer", steps=steps("train", 12, ("seal",)), is_exact=False,
                work=[work("training", 240, 800, "batches", 7.5)]),
    ),
    "answered": answer(
        "answered", running("unmask", SEALED_SEEN, "trainer", steps=steps("unmask", 3, ("evaluate", "commit")))
    ),
    "aside": answer(
        "aside", running("train", TRAINER_SEES, "trainer"),
        activity_text="training did not end before the seal deadline", holdings=None,
    ),
    "collecting": _collecting(),
    "late": _late(),
    "opening": _opening(),
    "judging": _judging(),
    "committing": _committing(),
    "crowd": _crowd(),
    "beacon": answer(
        "awaiting_beacon", running("beacon", [], "none", cohorts=[], is_exact=True), rounds=[], holdings=None
    ),
    "seats": answer(
        "awaiting_seats", None, rounds=[], opened_rounds=0, model_rounds=0, settled_rounds=0, seats=5, own_seat=2,
        counts={"adopted": 0, "rejected": 0, "undecided": 0, "voided": 0}, strikes=None,
    ),
    "suspended": answer(
        "not_seated", running("train", validators("unknown"), "none"), own_seat=None, strikes=None,
        standing="suspended", suspended_for=[3, 4], release_at_s=NOW_MS // 1000 + 90,
    ),
    "rejected": answer(
        "training", running("train", TRAINER_SEES, "trainer"), rejections=5,
        local_only_note="not computed: learning.local_only is off",
        rounds=[{**entry, "local_only_score": None} for entry in ROUNDS], suspicion_bound=8, round_count=41,
    ),
    "suspected": answer(
        "not_seated", running("train", validators("unknown"), "none"), own_seat=None, strikes=None, suspicion_bound=3,
        round_count=31,
        standing="suspected", suspected_for=[2, 3, 5], release_at_s=NOW_MS // 1000 + 90,
    ),
    "slashed": answer(
        "closed", None, closed=True, standing="unbonding", release_at_s=NOW_MS // 1000 - 5, strikes=None,
        slashed={"fault": "two contradicting messages", "round": 3, "amount": str(100 * FLOCK),
                 "transaction": "0x" + "ef" * 32},
    ),
    "catching_up": answer("catching_up", running("train", TRAINER_SEES, "none"), model_rounds=2),
    "closed": answer("closed", None, closed=True, settled_rounds=11),
    "private": answer(
        "training", running("train", TRAINER_SEES, "trainer"), task="heart+noise2.86", round_count=21,
        privacy={"noise_multiplier": 2.86, "delta": 1e-5, "rounds": 20, "epsilon": 7.99, "rounds_spent": 3,
                 "epsilon_spent": 2.76},
    ),
    "no_alliance": _no_alliance(),
}  # fmt: skip
