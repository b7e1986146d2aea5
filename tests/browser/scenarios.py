"""What a node says in the states that an operator meets, made from frames that real nodes of a testnet sent.

``frames.json`` was recorded from seven nodes, one of which was killed in round 3. What that run did not bring (a
rejected cohort, a strike, a slash) is laid over it here, in the node's own words.
"""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

from tests.browser.fake_node import FakeNode, Frame

FRAMES: dict[str, Frame] = json.loads((Path(__file__).parent / "frames.json").read_text())
ROUND = 14  # that runs, so that the page has something to show
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
REJECTED = (
    "Rejected: 3 of 3 validators voted against it, 2 were needed. By their own private data it made the model worse "
    "than the terms allow, or it could not be a sum of honest updates."
)
STRIKE = "a strike: its update did not arrive in time; two in a row suspend the seat, and no stake is lost"
VOID = (
    "Void: the validators did not agree on chain in time whose updates are in. Nothing was opened, nobody is to "
    "blame or paid, and the next round began."
)


def frame(name: str, **alliance: Any) -> Frame:
    """A recorded frame, with these fields of the alliance replaced."""
    chosen = copy.deepcopy(FRAMES[name])
    told = chosen["alliance"]
    if told["running"]:
        told["running"]["round"] = ROUND
        told |= {"round_count": 40, "opened_rounds": ROUND + 1, "model_rounds": ROUND, "settled_rounds": ROUND - 1}
        told["counts"] = {"adopted": 11, "rejected": 2, "undecided": 0, "voided": 1}
        told["rounds"] = history_of(chosen)[:12]
        now_ms = chosen["now_ms"]
        told["holdings"] |= {"earned_total": "174" + "4" * 18, "claimed_total": "151" + "1" * 18,
                             "gas_spent_wei": "4210000000000000", "gas_since_s": now_ms // 1000 - 7200}  # fmt: skip
    told.update({"score_name": "AUC"} | alliance)
    return chosen


def tell(node: FakeNode, watch: Frame) -> None:
    """Let a node be in this state, with all that belongs to it."""
    has_past = watch["alliance"] is not None and watch["alliance"]["running"] is not None
    node.show(watch, mesh=mesh_of(watch), lines=log_of(watch), rounds=history_of(watch) if has_past else [])


def mesh_of(watch: Frame) -> Frame:
    """Connections that fit a frame's participants."""
    running = watch["alliance"]["running"] if watch["alliance"] else None
    entries = [] if running is None else running["participants"]
    peers = [
        {
            "peer_id": entry["peer_id"],
            "seat": entry["seat"],
            "owner": entry["owner"],
            "role": entry["role"],
            "is_connected": entry["is_connected"],
            "in_mesh": entry["is_connected"] and entry["seat"] % 4 != 3,
            "direction": ("inbound" if entry["seat"] % 2 else "outbound") if entry["is_connected"] else None,
            "address": f"/ip4/10.0.{entry['seat']}.7/tcp/4001" if entry["is_connected"] else None,
            "round_trip_ms": 3.4 + 7 * entry["seat"] if entry["is_connected"] else None,
            "connected_seconds": 340 + entry["seat"] if entry["is_connected"] else None,
            "seen_seconds_ago": entry["seen_seconds_ago"],
        }
        for entry in entries
        if not entry["is_own"]
    ]
    bootstrap = (
        {**peers[0], "peer_id": "12D3KooWBootstrapNodeWithoutASeat1234567890abcdefgh", "seat": None} if peers else None
    )
    extra = [{**bootstrap, "owner": None, "role": None, "is_connected": True, "in_mesh": False}] if bootstrap else []
    return {"own": {}, "peers": peers + extra}


def log_of(watch: Frame, rounds: int = 6) -> list[Frame]:
    """Lines such as a node writes, one of them from a peer that means ill."""
    start_s = watch["now_ms"] / 1000 - 60 * rounds
    texts = [
        ("INFO", "the round is open; this node is a trainer", {"round": 0}),
        ("INFO", "training took 1.8 s", {"examples": 243}),
        ("INFO", "masked update published", {"bytes": 9912}),
        ("WARNING", "no answer from seat 1 within 5 s; going on without it", {"seat": 1}),
        ("INFO", "the round is settled: adopted", {}),
        ("INFO", f"a peer calls itself {HOSTILE}", {"agent": HOSTILE}),
    ]
    lines: list[Frame] = []
    for number in range(rounds):
        for index, (level, message, fields) in enumerate(texts):
            lines.append(
                {
                    "sequence": len(lines) + 1,
                    "time": start_s + 60 * number + 9 * index,
                    "level": level,
                    "logger": "p2p_flock.daemon.session",
                    "message": message,
                    "alliance": watch["alliance"]["alliance"] if watch["alliance"] else None,
                    "round": number,
                    "round_id": f"a1-r{number}",
                    "fields": fields,
                }
            )
    return lines


def history_of(watch: Frame, count: int = ROUND) -> list[Frame]:
    """``count`` ended rounds, newest first: most adopted, one rejected, one void; scores rise."""
    now_s, running = watch["now_ms"] // 1000, watch["alliance"]["running"]
    rounds = [ended_round(number, now_s - 60 * (count - number), watch["address"]) for number in reversed(range(count))]
    return [in_two_cohorts(entry) for entry in rounds] if running and len(running["cohorts"]) > 1 else rounds


def ended_round(number: int, started_s: int, owner: str) -> Frame:
    """One of them; in round 4 the node itself got a strike."""
    is_void, is_adopted = number == 7, number % 6 != 4
    outcome = "adopted" if is_adopted else "rejected"
    reasons = ["Adopted: 3 of 3 validators voted for it, 2 were needed."] if is_adopted else [REJECTED]
    survivors = [] if is_void else [3 if number == 3 else 4]
    return {
        "round": number,
        "outcome": "voided" if is_void else "settled",
        "cohort_outcomes": [] if is_void else [outcome],
        **{"trainers": 4, "trainers_by_cohort": [4]},
        **{"survivors": sum(survivors), "survivors_by_cohort": survivors},
        "votes_for": [] if is_void else [3 if is_adopted else 0],
        "votes_against": [] if is_void else [0 if is_adopted else 3],
        "abstentions": [] if is_void else [0],
        "model_digest": "0x" + f"{number:02x}" * 32,
        "seconds": 9 + number % 4,
        "started_at_s": started_s,
        "ended_at_s": started_s + 9,
        "reasons": [VOID] if is_void else reasons,
        **own_part(number, is_void, is_adopted),
        "penalties": [strike(owner, started_s)] if number == 4 else [],
        "events": [],
        "events_left_out": 0,
        "transactions": transactions_of(number, started_s, is_void),
        "transactions_left_out": 0,
    }


def in_two_cohorts(entry: Frame) -> Frame:
    """The same round with a second cohort, which lost a trainer and was adopted."""
    if entry["outcome"] == "voided":
        return entry | {"trainers": 9, "trainers_by_cohort": [4, 5]}
    survivors = [*entry["survivors_by_cohort"], 4]
    return entry | {
        **{"trainers": 9, "trainers_by_cohort": [4, 5]},
        **{"survivors": sum(survivors), "survivors_by_cohort": survivors},
        "cohort_outcomes": [*entry["cohort_outcomes"], "adopted"],
        "votes_for": [*entry["votes_for"], 2],
        "votes_against": [*entry["votes_against"], 0],
        "abstentions": [0, 1],
        "reasons": [
            *(f"Cohort 0: {reason}" for reason in entry["reasons"]),
            "Cohort 1: Adopted: 2 of 3 validators voted for it, 2 were needed.",
        ],
    }


def own_part(number: int, is_void: bool, is_adopted: bool) -> Frame:
    """What the node did in a round, measured after it and earned by it."""
    before, after = _auc(number - 1), _auc(number)
    is_validator = number % 3 == 2 and not is_void
    judgement = {
        **{"loss_before": 1 - before, "score_before": before},
        **{"losses_after": {"0": 1 - after}, "scores_after": {"0": after}, "accepted": {"0": is_adopted}},
    }
    money = {
        **{"trainer": "13333333333333333333", "validator": "0", "refunds": "1200000000000000000"},
        **{"total": "14533333333333333333", "is_claimed": number < 6},
    }
    alone = round(0.82 - 0.3 * math.exp(-number / 2), 4)
    return {
        "role": "validator" if is_validator else "trainer",
        "judgement": judgement if is_validator else None,
        "own_score": None if number == 0 or is_void else after,
        "local_only_score": None if number < 2 or is_void else alone,
        "money": None if is_void else money,
    }


def strike(owner: str, at_s: int) -> Frame:
    return {
        **{"what": "absent", "owner": owner, "seat": 2, "is_own": True, "text": STRIKE, "rounds": [4], "fault": None},
        **{"amount": None, "transaction": "0x" + "4a" * 32, "at_s": at_s},
    }


def transactions_of(number: int, at_s: int, is_void: bool) -> list[Frame]:
    names = ["open", "void"] if is_void else ["open", "seal", "commit", "reveal", "settle"]
    return [
        {
            **{"what": what, "transaction": "0x" + f"{number:02x}{index:02x}" * 16, "block": 100 + number},
            **{"at_s": at_s, "sender": None, "is_own": what == "commit"},
        }
        for index, what in enumerate(names)
    ]


def _auc(number: int) -> float:
    return round(0.905 - 0.4 * math.exp(-max(0, number) / 3), 4)


def training() -> Frame:
    """A trainer at work, with progress."""
    shown = frame("training")
    shown["alliance"]["running"]["work"] = [
        {"what": "training", "done": 31, "total": 96, "unit": "batches", "started_ms": shown["now_ms"] - 4200},
        {
            "what": "fetching",
            "done": 1_200_000,
            "total": 4_800_000,
            "unit": "bytes",
            "started_ms": shown["now_ms"] - 1500,
        },
    ]
    return shown


def suspended() -> Frame:
    """A seat that was lost for absence, one strike more on record, and a slash."""
    return frame(
        "trainer",
        standing="suspended",
        own_seat=None,
        activity="not_seated",
        suspended_for=[8, 9],
        strikes=2,
        slashed={"fault": "two different seals signed for one round", "round": 6, "amount": "250" + "0" * 18,
                 "transaction": "0x" + "9c" * 32},
    )  # fmt: skip


def suspected() -> Frame:
    """A member whose cohorts were rejected again and again."""
    return frame("trainer", standing="suspected", suspected_for=[2, 4, 5, 7], rejections=4, suspicion_bound=4,
                 strikes=1, release_at_s=FRAMES["trainer"]["now_ms"] // 1000 + 86_400)  # fmt: skip


def catching_up() -> Frame:
    return frame("collecting", activity="catching_up", model_rounds=1, opened_rounds=9,
                 activity_text="the model after round 5: 1.2 of 4.0 MB")  # fmt: skip


def between_rounds() -> Frame:
    """After the round of :func:`training` ended, before the next one opens."""
    shown = training()
    told = shown["alliance"]
    told["rounds"] = [ended_round(ROUND, shown["now_ms"] // 1000, shown["address"]), *told["rounds"]]
    return shown | {"alliance": told | {"running": None, "activity": "awaiting_round"}}


def chain_trouble() -> Frame:
    shown = frame("killed")
    shown["warnings"] = [
        "the chain's endpoint http://127.0.0.1:8545 does not answer since 42 s\nstart it, or set another",
        "the account holds 0.0004 ETH, enough for 2 rounds\nsend some ETH to it",
    ]
    return shown


def no_alliance() -> Frame:
    return {**copy.deepcopy(FRAMES["waiting"]), "alliance": None}


def crowd(count: int = 60) -> Frame:
    """Many participants, most of them far away, in two cohorts."""
    shown = frame("killed")
    running = shown["alliance"]["running"]
    base = next(entry for entry in running["participants"] if entry["role"] == "trainer" and not entry["is_own"])
    running["participants"] += [
        {**base, "seat": seat, "cohort": seat % 2, "peer_id": base["peer_id"][:-4] + f"{seat:04}",
         "is_connected": seat % 5 != 0, "is_awaited": seat % 7 == 0, "seen_seconds_ago": seat,
         "items": {"contribution": "awaited" if seat % 7 == 0 else "here", "unmasking": "not_due"}}
        for seat in range(10, 10 + count)
    ]  # fmt: skip
    running["cohorts"] = [{**running["cohorts"][0], "cohort": 0}, {**running["cohorts"][0], "cohort": 1}]
    running["participant_count"] = 400
    shown["alliance"]["rounds"] = history_of(shown)[:12]
    return shown
