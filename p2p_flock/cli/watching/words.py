"""The words of ``alliance watch``: what each state means to somebody who runs a node. Pure, standard library only.

Called by ``frame.py``, by the tables of ``alliance show`` and by the testnet's own table. Says nothing that the daemon
did not say: what a node cannot see is called unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.daemon.watch_messages import (
    CostResult,
    ParticipantResult,
    PrivacyResult,
    RunningRoundResult,
    StandingResult,
    StepResult,
    WatchedAllianceResult,
    WatchResult,
)

NAMED_MAX = 4  # participants named in a sentence; the table has them all

# Step: what goes on in it.
STEPS = {
    "beacon": "a public random value draws who does what",
    "train": "trainers train on their own data and publish masked updates",
    "seal": "validators agree on chain whose updates are in",
    "unmask": "trainers answer, so that the sum (and only the sum) can be opened",
    "evaluate": "validators test the sum on their own private data",
    "commit": "validators commit to their votes, still hidden",
    "settle": "votes are shown and counted; the contract adopts or rejects",
}

# Activity of CONTROL.md: the sentence that goes on from "Your node".
ACTIVITIES = {
    "closed": "is done: the alliance has had all its rounds. Collect what it earned: `p2p-flock wallet claim`.",
    "not_seated": "holds no seat in this alliance.",
    "awaiting_seats": "waits for more members.",
    "catching_up": "is fetching what it missed.",
    "awaiting_beacon": "waits for the draw of roles.",
    "joins_next_round": "takes part from the next round on.",
    "starting": "is starting its part of this round.",
    "no_mask_key": "sits this round out: its mask key is spent; a fresh one counts from the next round.",
    "training": "trains on its own data.",
    "publishing": "masks its update and stores it.",
    "awaiting_seal": "has published its masked update.",
    "fetching_bundles": "fetches the shares it needs to answer.",
    "answered": "has answered; its work in this round is done.",
    "aside": "stands aside in this round.",
    "collecting": "collects the trainers' masked updates.",
    "sealing": "agrees with the other validators on who is in.",
    "opening": "gathers answers and opens the sum.",
    "judging": "tests the opened sum on its own private data.",
    "committing": "has voted.",
    "settling": "shows its vote.",
}

# What is waited for where no participant is: the chain, or this node's own work.
WAITS = {
    "awaiting_beacon": "the random value",
    "awaiting_seal": "the seal on chain (which updates the validators hold yet is not visible to a trainer)",
    "answered": "the validators' verdict on chain (how far they are is not visible to a trainer)",
    "aside": "the end of the round",
    "no_mask_key": "the end of the round",
    "sealing": "the seal on chain",
    "opening": "the opening of the sum",
    "committing": "the votes' way onto the chain",
    "settling": "the settlement on chain",
}

# Item: (singular, plural) as something that is waited for.
ITEMS = {
    "contribution": ("the masked update of", "the masked updates of"),
    "unmasking": ("the answer of", "the answers of"),
    "have": ("the list of updates held by", "the lists of updates held by"),
    "commitment": ("the committed vote of", "the committed votes of"),
    "ballot": ("the ballot of", "the ballots of"),
    "bundle": ("the shares dealt to you by", "the shares dealt to you by"),
}
STEP_OF_ITEM = {
    "contribution": "train",
    "have": "seal",
    "unmasking": "unmask",
    "commitment": "commit",
    "ballot": "settle",
}

# Receipt: (mark, word, style).
RECEIPTS = {
    "here": ("✓", "here", "green"),
    "on_chain": ("✓", "on chain", "green"),
    "partial": ("…", "arriving", "cyan"),
    "awaited": ("…", "waiting", "bold"),
    "refused": ("✗", "refused", "bold red"),
    "missed": ("✗", "missed", "red"),
    "not_due": ("·", "", "dim"),
    "needless": ("–", "not needed", "dim"),
    "unknown": ("?", "unseen", "dim"),
}


# --- common with other tables ----------------------------------------------------------------------------------------


def vote_text(votes_for: int, votes_against: int, outcome: str | None) -> str:
    """``3:0 adopted``."""
    return "…" if outcome is None else f"{votes_for}:{votes_against} {outcome}"


def change_text(before: float | None, after: float | None) -> str:
    """``.812 → .845``; a dash where a value is not known."""

    def one(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}".removeprefix("0")

    return f"{one(before)} → {one(after)}"


def short_digest(digest: str | None, characters: int = 12) -> str:
    """``0xcdcdcd…``."""
    return "none" if digest is None else digest[: 2 + characters] + "…"


def short_peer(peer_id: str) -> str:
    """The end of a peer ID: all of them begin alike."""
    return "…" + peer_id[-6:]


def short_owner(owner: str) -> str:
    """``0x1212…1212``."""
    return f"{owner[:6]}…{owner[-4:]}"


def format_bytes(count: int) -> str:
    """``980 B``, ``1.2 MB``; powers of a thousand."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


# --- sentences -------------------------------------------------------------------------------------------------------


def rounds_text(alliance: WatchedAllianceResult) -> str:
    """``round 3 · 2 of 11 settled: 2 adopted``."""
    counts: Mapping[str, int] = {name: int(str(count)) for name, count in alliance["counts"].items()}
    told = ", ".join(f"{count} {'void' if name == 'voided' else name}" for name, count in counts.items() if count)
    running = alliance["running"]
    if alliance["closed"]:
        start = "closed"
    elif running is None:
        start = "between rounds" if alliance["opened_rounds"] else "not begun"
    else:
        start = f"round {running['round']}"
        start += " (collects the data's statistics)" if running["stage"] == "statistics" else ""
    settled = f"{alliance['settled_rounds']} of {alliance['round_count']} settled"
    return f"{start} · {settled}" + (f": {told}" if told else "")


def own_text(result: WatchResult, alliance: WatchedAllianceResult) -> str:
    """Who this node is in the round and what it is doing."""
    running, activity = alliance["running"], alliance["activity"]
    who = "no seat" if alliance["own_seat"] is None else f"seat {alliance['own_seat']}"
    if running is not None and running["role"] != "none":
        who += f", {running['role']}"
    text = f"You: {who}. Your node {ACTIVITIES.get(activity, activity)}"
    if activity in ("training", "judging") and alliance["activity_since_ms"] is not None:
        spent = format_seconds(max(0, result["now_ms"] - alliance["activity_since_ms"]) // 1000)
        text = f"{text.removesuffix('.')}: {spent} so far."
    if activity == "aside":
        text += f" Why: {alliance['activity_text']}."
    if activity == "catching_up":
        text += f" It holds the model after {alliance['model_rounds']} of {alliance['opened_rounds']} rounds"
        text += f": {alliance['activity_text']}." if alliance["activity_text"] else "."
    if activity == "awaiting_seats":
        text += f" {alliance['seats']} of {alliance['seat_count_min']} seats are taken; it starts when all are."
    return text


def waiting_text(result: WatchResult, alliance: WatchedAllianceResult) -> tuple[str, bool]:
    """(what is being waited for, whether that is late); an empty text where nothing is."""
    running = alliance["running"]
    if running is None or alliance["activity"] == "catching_up":
        return "", False
    awaited = [entry for entry in running["participants"] if entry["is_awaited"]]
    late = late_seconds(result["now_ms"], running["steps"], running["step"])
    if not awaited:
        text = WAITS.get(alliance["activity"], "")
        is_late = late is not None and not running["is_exact"]
        return (f"Waiting for {text}." if text else ""), is_late
    item = awaited_item(awaited[0])
    names = "; ".join(f"seat {entry['seat']} ({short_peer(entry['peer_id'])}, {link_text(entry)})"
                      for entry in awaited[:NAMED_MAX])  # fmt: skip
    more = f" and {len(awaited) - NAMED_MAX} more" if len(awaited) > NAMED_MAX else ""
    text = f"Waiting for {ITEMS[item][len(awaited) > 1]} {names}{more}"
    if late is not None:
        text += f": late by {format_seconds(late)}"
    return text + ".", late is not None


def awaited_item(entry: ParticipantResult) -> str:
    """What this node waits for from a participant: the first item that is due and not here."""
    return next((item for item, receipt in entry["items"].items() if receipt in ("awaited", "partial")), "bundle")


def late_seconds(now_ms: int, steps: Sequence[StepResult], step: str) -> int | None:
    """Whole seconds since a step's deadline; ``None`` before it, or where none is fixed yet."""
    deadline_ms = next((entry["deadline_ms"] for entry in steps if entry["step"] == step), None)
    return None if deadline_ms is None or now_ms < deadline_ms else (now_ms - deadline_ms) // 1000


def link_text(entry: ParticipantResult) -> str:
    """Whether this node has a connection to the participant, and else when it last heard from it."""
    if entry["is_own"]:
        return "this node"
    if entry["is_connected"]:
        return "connected"
    seen = entry["seen_seconds_ago"]
    return "never seen" if seen is None else f"away {format_seconds(seen)}"


def step_time(now_ms: int, step: StepResult) -> str:
    """A step's place in time: how long it took, how long it may take still."""
    deadline_ms, started_ms = step["deadline_ms"], step["started_ms"]
    if step["state"] == "hidden":
        return "unseen"
    if step["state"] == "done":
        both = step["ended_ms"] is not None and started_ms is not None
        return f"{(step['ended_ms'] - started_ms) / 1000:.1f} s" if both else "done"  # type: ignore[operator]
    if deadline_ms is None:
        return "" if step["state"] == "coming" else "running"
    left = (deadline_ms - now_ms) // 1000
    if step["state"] == "running":
        return f"{format_seconds(left)} left" if left > 0 else f"{format_seconds(-left)} over"
    return ""


def cohort_text(running: RunningRoundResult) -> str:
    """How far each cohort is, as far as this node sees."""
    parts = []
    for cohort in running["cohorts"]:
        name = f"cohort {cohort['cohort']}: " if len(running["cohorts"]) > 1 else ""
        trainers, held, survivors, answered = (
            cohort["trainers"],
            cohort["held"],
            cohort["survivors"],
            cohort["answered"],
        )
        if survivors is not None:
            text = f"{survivors} of {trainers} trainers are in"
            if answered is not None:
                text += f" · answers {bar(answered, survivors)} {answered} here, {cohort['threshold']} open the sum"
        elif held is not None:
            text = f"{bar(held, trainers)} {held} of {trainers} masked updates here and checked"
        else:
            continue
        parts.append(name + text)
    return " · ".join(parts)


def bar(done: int, total: int) -> str:
    """``■■■□□``, at most ten of them."""
    width = min(10, total)
    filled = 0 if not total else done * width // total
    return "■" * filled + "□" * (width - filled)


def standing_text(alliance: WatchedAllianceResult, now_s: int) -> str:
    """What is out of the ordinary about this node's seat; empty where nothing is."""
    told = standing_sentences(alliance, now_s)
    if alliance["strikes"] and alliance["standing"] == "joined":
        count = f"{alliance['strikes']} strike" + ("s" if alliance["strikes"] > 1 else "")
        told.append(f"{count} (two in a row suspend the seat)")
    rejections, bound = alliance["rejections"] or 0, alliance["suspicion_bound"]
    if 2 * rejections > bound > 0 and alliance["standing"] == "joined":
        told.append(f"own cohorts rejected {rejections} times in a row ({bound} suspend the seat)")
    return " · ".join(told)


def standing_sentences(result: StandingResult, now_s: int | None) -> list[str]:
    """A seat that is slashed, suspended or leaving, and when its stake is free. ``now_s``: chain time."""
    told, slash = [], result["slashed"]
    if slash is not None:
        told.append(
            f"slashed {format_money(slash['amount'], 'FLOCK')} for {slash['fault']} in round {slash['round']}; "
            f"evidence in transaction {slash['transaction']}"
        )
    if result["suspended_for"]:
        first, second = result["suspended_for"]
        told.append(f"suspended: absent in rounds {first} and {second}; the node takes the seat again by itself")
    if result["suspected_for"]:
        rounds = result["suspected_for"]
        told.append(
            f"suspected: its cohorts were rejected {len(rounds)} times in a row, in rounds {rounds[0]} to {rounds[-1]}"
            "; no stake is lost, the seat is not taken again: check the data, withdraw, join anew"
        )
    if result["standing"] == "leaving":
        told.append("leaving: the seat goes when the next round opens")
    if result["release_at_s"] is not None and now_s is not None:
        left_s = result["release_at_s"] - now_s
        when = f"in {format_seconds(left_s)}" if left_s > 0 else "now: `p2p-flock alliance withdraw ID`"
        told.append(f"the stake can be withdrawn {when}")
    return told


def privacy_text(privacy: PrivacyResult) -> str:
    """``ε 1.4 of 8.0 spent at δ 1e-05: 3 of at most 20 rounds with noise``."""

    def one(epsilon: float | None) -> str:
        return "∞" if epsilon is None else f"{epsilon:.2g}"

    return (
        f"ε {one(privacy['epsilon_spent'])} of {one(privacy['epsilon'])} spent at δ {privacy['delta']:g}: "
        f"{privacy['rounds_spent']} of at most {privacy['rounds']} rounds with noise"
    )


def cost_text(cost: CostResult, before: CostResult | None, seconds: float) -> str:
    """What the daemon uses: rates since ``before``, ``seconds`` ago; totals without it."""
    parts = [f"daemon {_use(cost['cpu_seconds'], before and before['cpu_seconds'], seconds)}"]
    if cost["memory_bytes"] is not None:
        parts[0] += f", {format_bytes(cost['memory_bytes'])}"
    if cost["worker_cpu_seconds"] is not None and cost["worker_memory_bytes"] is not None:
        use = _use(cost["worker_cpu_seconds"], before and before["worker_cpu_seconds"], seconds)
        parts.append(f"training {use}, {format_bytes(cost['worker_memory_bytes'])}")
    sent, received = format_bytes(cost["bytes_sent"]), format_bytes(cost["bytes_received"])
    parts.append(f"sent {sent}, got {received}")
    return " · ".join(parts)


def _use(total: float, before: float | None, seconds: float) -> str:
    if before is None or seconds <= 0:
        return f"CPU {total:.0f} s"
    return f"CPU {max(0.0, total - before) / seconds * 100:.0f} %"


def summary_line(result: WatchResult) -> str:
    """One line for logs and pipes, the same as long as nothing changes."""
    alliance = result["alliance"]
    if alliance is None:
        return "in no alliance"
    running = alliance["running"]
    step = "" if running is None else f" · {running['step']}"
    text = f"{alliance['alliance']} · {rounds_text(alliance)}{step} · {ACTIVITIES.get(alliance['activity'], '')}"
    awaited = (
        [] if running is None else [str(entry["seat"]) for entry in running["participants"] if entry["is_awaited"]]
    )
    return text + (f" Waiting for seats {', '.join(awaited)}." if awaited else "")
