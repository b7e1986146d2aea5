"""The words of ``alliance watch``: what each state means to somebody who runs a node. Pure, standard library only.

Called by ``frame.py``, by the tables of ``alliance show`` and by the testnet's own table. Says nothing that the daemon
did not say: what a node cannot see is called unseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.daemon.watch_messages import (
    CostResult,
    EndedRoundResult,
    ParticipantResult,
    PrivacyResult,
    RunningRoundResult,
    StandingResult,
    StepResult,
    WatchedAllianceResult,
    WatchResult,
    WorkResult,
)

TOLD_AFTER_MS = 2_000  # of a piece of work; before it nobody wonders how long it takes
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
    "awaiting_round": "waits for the next round to open.",
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

# Work of CONTROL.md, beside its bar.
WORKS = {"training": "training", "fetching": "fetching", "unmasking": "opening", "judging": "testing"}

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

# Item: what happens if it has not come by its deadline.
WITHOUT = {
    "contribution": "the round goes on without it",
    "unmasking": "the sum is opened with the answers that are here",
    "have": "the others seal without it",
    "commitment": "the other votes decide",
    "ballot": "the votes that were shown decide",
    "bundle": "your node answers with the shares that it has",
}

# A connection that is back within this makes nobody late: nodes reconnect at once after a broken stream.
UNREACHABLE_S = 3

# State of a participant: (mark, word, style).
PARTICIPANT_STATES = {
    "late": ("!", "late", "bold red"),
    "lost": ("✗", "lost", "red"),
    "awaited": ("…", "awaited", "bold"),
    "away": ("○", "away", "yellow"),
    "working": ("▸", "at work", ""),
    "done": ("✓", "done", "green"),
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

    return f"{score_text(before)} → {score_text(after)}"


def score_text(value: float | None) -> str:
    """``.812``; a dash where it is not known."""
    return "–" if value is None else f"{value:.3f}".removeprefix("0")


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
        spent_s = max(0, result["now_ms"] - alliance["activity_since_ms"]) // 1000
        text = f"{text.removesuffix('.')}: {format_seconds(spent_s)} so far." if spent_s else text
    if activity == "aside":
        text += f" Why: {alliance['activity_text']}."
    if activity == "catching_up":
        text += f" It holds the model after {alliance['model_rounds']} of {alliance['opened_rounds']} rounds"
        text += f": {alliance['activity_text']}." if alliance["activity_text"] else "."
    if activity == "awaiting_seats":
        text += f" {alliance['seats']} of {alliance['seat_count_min']} seats are taken; it starts when all are."
    return text


def waiting_sentences(result: WatchResult, alliance: WatchedAllianceResult) -> list[tuple[str, bool]]:
    """Who is late, what is waited for, until when and what happens then, whom the round left: (sentence, is it bad)."""
    running = alliance["running"]
    if running is None or alliance["activity"] == "catching_up":
        return []
    now_ms, people = result["now_ms"], running["participants"]
    states = {entry["seat"]: participant_state(entry, running, now_ms) for entry in people}
    told: list[tuple[str, bool]] = []
    for state, start in (("late", "Late:"), ("awaited", "Waiting for")):
        these = [entry for entry in people if states[entry["seat"]] == state]
        if not these:
            continue
        item = awaited_item(these[0])
        if state == "late" or len(these) == 1:
            names = "; ".join(f"seat {entry['seat']} ({short_peer(entry['peer_id'])}, {link_text(entry)})"
                              for entry in these[:NAMED_MAX])  # fmt: skip
        else:
            names = "seats " + ", ".join(str(entry["seat"]) for entry in these[:NAMED_MAX])
        more = f" and {len(these) - NAMED_MAX} more" if len(these) > NAMED_MAX else ""
        what = f"{start} {ITEMS[item][len(these) > 1]} {names}{more}"
        until = _until_text(running, item, now_ms)
        them = until.replace("without it", "without them") if len(these) > 1 else until
        told.append((f"{what}{them}.", state == "late"))
    if not told and (text := WAITS.get(alliance["activity"], "")):
        late = None if running["is_exact"] else late_seconds(now_ms, running["steps"], running["step"])
        told.append((f"Waiting for {text}.", late is not None))
    lost = [entry["seat"] for entry in people if states[entry["seat"]] == "lost"]
    if lost:
        names = ", ".join(map(str, lost[:NAMED_MAX])) + (
            f" and {len(lost) - NAMED_MAX} more" if lost[NAMED_MAX:] else ""
        )
        told.append((f"The round went on without seat{'s' if len(lost) > 1 else ''} {names}.", False))
    return told


def _until_text(running: RunningRoundResult, item: str, now_ms: int) -> str:
    """``, late by 5 s``, or what happens at the deadline and when."""
    step = STEP_OF_ITEM.get(item, running["step"])
    late = late_seconds(now_ms, running["steps"], step)
    if late is not None:
        return f": late by {format_seconds(late)}; {WITHOUT[item]}"
    deadline_ms = _deadline_ms(running["steps"], step)
    return "" if deadline_ms is None else f"; in {format_seconds((deadline_ms - now_ms) // 1000)} {WITHOUT[item]}"


def participant_state(entry: ParticipantResult, running: RunningRoundResult, now_ms: int) -> str:
    """What a participant is called: a key of :data:`PARTICIPANT_STATES`.

    The page's ``participantState`` is the same function; both pass ``tests/vectors/participant_states.json``.
    """
    receipts = set(entry["items"].values())
    if receipts & {"missed", "refused"}:
        return "lost"
    if entry["is_awaited"]:
        step = STEP_OF_ITEM.get(awaited_item(entry), running["step"])
        is_late = late_seconds(now_ms, running["steps"], step) is not None
        return "late" if is_late or _is_unreachable(entry) else "awaited"
    if not entry["is_eligible"] or receipts <= {"here", "on_chain", "needless"}:
        return "done"
    return "working" if entry["is_own"] or entry["is_connected"] else "away"


def _is_unreachable(entry: ParticipantResult) -> bool:
    seen = entry["seen_seconds_ago"]
    return not entry["is_own"] and not entry["is_connected"] and (seen is None or seen >= UNREACHABLE_S)


def awaited_item(entry: ParticipantResult) -> str:
    """What this node waits for from a participant: the first item that is due and not here."""
    return next((item for item, receipt in entry["items"].items() if receipt in ("awaited", "partial")), "bundle")


def _deadline_ms(steps: Sequence[StepResult], step: str) -> int | None:
    return next((entry["deadline_ms"] for entry in steps if entry["step"] == step), None)


def late_seconds(now_ms: int, steps: Sequence[StepResult], step: str) -> int | None:
    """Whole seconds since a step's deadline; ``None`` before it, or where none is fixed yet."""
    deadline_ms = _deadline_ms(steps, step)
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
    is_shown = any(work["what"] == "unmasking" for work in running["work"])  # the answers have a bar already
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
                bar_text = "" if is_shown else f"{bar(answered, survivors)} "
                text += f" · answers {bar_text}{answered} here, {cohort['threshold']} open the sum"
        elif held is not None:
            text = f"{bar(held, trainers)} {held} of {trainers} masked updates here and checked"
        else:
            continue
        parts.append(name + text)
    return " · ".join(parts)


def bar(done: int, total: int, width_max: int = 10) -> str:
    """``■■■□□``, at most so many of them."""
    width = min(width_max, total)
    filled = 0 if not total else min(done, total) * width // total
    return "■" * filled + "□" * (width - filled)


def work_text(work: WorkResult, now_ms: int) -> str:
    """``training  ■■■■□□□□□□ 240 of 800 batches · 12 s so far, about 28 s to go``."""
    done, total = work["done"], work["total"]
    counted = f"{format_bytes(done)} of {format_bytes(total)}" if work["unit"] == "bytes" else f"{done} of {total}"
    unit = "" if work["unit"] == "bytes" else f" {work['unit']}"
    spent_ms = max(0, now_ms - work["started_ms"])
    text = f"{WORKS.get(work['what'], work['what']):<9} {bar(done * 1000 // total, 1000, 20)} {counted}{unit}"
    if spent_ms < TOLD_AFTER_MS:
        return text
    text += f" · {format_seconds(spent_ms // 1000)} so far"
    left_ms = spent_ms * (total - done) // done if done else 0
    is_steady = work["what"] != "unmasking" and 0 < done < total  # answers come when their senders are ready
    return f"{text}, about {format_seconds(max(1, left_ms // 1000))} to go" if is_steady else text


def outcome_sentences(rounds: Sequence[EndedRoundResult], count_max: int) -> list[str]:
    """Why rounds that adopted nothing ended so, newest first."""
    told: list[str] = []
    for entry in rounds:
        why = [_why(entry, index, outcome) for index, outcome in enumerate(entry["cohort_outcomes"])]
        if entry["outcome"] == "voided":
            why = ["void: no seal, or no vote, came on chain in time; nothing was opened, nobody is paid or blamed"]
        if any(why) and len(told) < count_max:
            told.append(f"Round {entry['round']} {'; '.join(text for text in why if text)}.")
    return told


def _why(entry: EndedRoundResult, cohort: int, outcome: str) -> str:
    yes, no = entry["votes_for"][cohort], entry["votes_against"][cohort]
    name = f"cohort {cohort} " if len(entry["cohort_outcomes"]) > 1 else ""
    match outcome:
        case "rejected":
            return (
                f"{name}rejected: {no} against, {yes} for; by those validators' private data the sum made the model "
                "worse than the terms allow"
            )
        case "undecided":
            return f"{name}undecided: {yes} for, {no} against, too few either way; not adopted, held against nobody"
        case "void":
            return f"{name}void: too few trainers were in to open a sum"
        case _:
            return ""


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
