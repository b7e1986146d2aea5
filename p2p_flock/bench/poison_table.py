"""The tables of the poisoning benchmark, from what the runs found. Pure text.

Called by ``bench/poison.py``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from p2p_flock.bench.poison_committee import BAD, COMMITTEES, MEMBERS, ROUNDS, Captures
from p2p_flock.bench.poison_framing import Framed
from p2p_flock.bench.poison_runs import Found
from p2p_flock.bench.poison_settings import DEFENCES, NOBODY, SETTINGS, Setting

HONEST_SUSPENDED_MAX = 0.02
RULE_TITLES = {"fedavg": "plain FedAvg", "median": "coordinate median", "multikrum": "multi-Krum (m = n − f)"}


def render_all(found: Sequence[Found], captures: Sequence[Captures], framed: Sequence[Framed]) -> str:
    """Every table there is something for."""
    parts = [render_bounds(found), render_rules(found), render_attacks(found), render_pay(found)]
    if framed:
        parts.append(render_framed(framed))
    if captures:
        parts.append(render_captures(captures))
    return "\n".join(part for part in parts if part)


def pick(found: Iterable[Found], setting: str, rule: str, attack: str) -> list[Found]:
    """The runs over all seeds."""
    return [one for one in found if (one["setting"], one["rule"], one["attack"]) == (setting, rule, attack)]


def of_same_seeds(runs: Iterable[Found], others: Iterable[Found]) -> list[Found]:
    """Those runs that have a counterpart: seeds differ by more than what is compared."""
    seeds = {one["seed"] for one in others}
    return [run for run in runs if run["seed"] in seeds]


def share(value: float) -> str:
    """``.938``."""
    return f"{value:.3f}".removeprefix("0")


def spread(runs: Sequence[Found]) -> str:
    """Mean accuracy, least to most."""
    if not runs:
        return "–"
    values = [run["accuracy"] for run in runs]
    if len(values) == 1:
        return share(values[0])
    return f"{share(statistics.mean(values))} ({share(min(values))} to {share(max(values))})"


def compute_recall(runs: Sequence[Found]) -> float:
    """Suspended bad members of all bad members, over all seeds."""
    return sum(run["suspended_bad"] for run in runs) / sum(run["bad"] for run in runs)


def compute_precision(runs: Sequence[Found]) -> float:
    """Suspended bad members of all suspended, over all seeds; 1 where nobody was."""
    caught, wrong = (sum(run[name] for run in runs) for name in ("suspended_bad", "suspended_honest"))
    return caught / (caught + wrong) if caught + wrong else 1.0


def compute_honest_suspended(runs: Sequence[Found], setting: Setting) -> float:
    """The share of honest members that were suspended, over all seeds."""
    honest = sum(setting.members - run["bad"] for run in runs)
    return sum(run["suspended_honest"] for run in runs) / honest


def render_bounds(found: Sequence[Found]) -> str:
    """The issue's rows: what must be, what is, met or missed; for each way of ours."""
    lines = ["| row | attack | judged | seeds | must | found | |", "|" + "---|" * 7]
    for setting in SETTINGS:
        for defence in DEFENCES:
            runs = pick(found, setting.name, defence.name, setting.headline)
            clean = of_same_seeds(pick(found, setting.name, "fedavg", NOBODY.name), runs)
            if clean and runs:
                head = f"| {setting.title} | {setting.headline} | {defence.name} | {len(runs)} |"
                lines += [f"{head} {' | '.join(cells)} |" for cells in check_bounds(setting, clean, runs)]
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def check_bounds(setting: Setting, clean: Sequence[Found], runs: Sequence[Found]) -> list[tuple[str, str, str]]:
    """(what must be, what is, met or missed) for each bound of one row."""
    best, ours = (statistics.mean(run["accuracy"] for run in these) for these in (clean, runs))
    lost, recall, precision = 100 * (best - ours), compute_recall(runs), compute_precision(runs)
    honest = compute_honest_suspended(runs, setting)
    rows = [
        (
            "reported" if setting.points_max is None else f"within {setting.points_max:g} points of attack-free",
            f"{share(ours)} of {share(best)}: {lost:.1f} points",
            setting.points_max is None or lost <= setting.points_max,
        ),
        (
            "recall reported" if setting.recall_min is None else f"recall ≥ {setting.recall_min:g}",
            f"{recall:.2f}",
            setting.recall_min is None or recall >= setting.recall_min,
        ),
        (
            "precision reported" if setting.precision_min is None else f"precision {setting.precision_min:.1f}",
            f"{precision:.2f}",
            setting.precision_min is None or precision >= setting.precision_min,
        ),
        (
            "honest suspended ≤ 2 %, slashed 0",
            f"{100 * honest:.1f} %, 0: there is no slash for a verdict",
            honest <= HONEST_SUSPENDED_MAX,
        ),
    ]
    return [
        (must, text, "" if "reported" in must else "met" if is_met else "**missed**") for must, text, is_met in rows
    ]


def render_rules(found: Sequence[Found]) -> str:
    """Accuracy of every rule under each row's headline, beside nobody attacking."""
    names = [*RULE_TITLES, *(defence.name for defence in DEFENCES)]
    titles = [RULE_TITLES.get(name, f"ours, {name}") for name in names]
    lines = ["| row | attack | " + " | ".join(titles) + " |", "|---|---|" + "---|" * len(names)]
    for setting in SETTINGS:
        for attack in (NOBODY.name, setting.headline):
            cells = [spread(pick(found, setting.name, name, attack)) for name in names]
            if any(cell != "–" for cell in cells):
                lines.append(f"| {setting.name} | {attack} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def render_attacks(found: Sequence[Found]) -> str:
    """Every attack that was run: accuracy, who was suspended, what became of poisoned cohorts."""
    lines = [
        "| row | attack | seeds | FedAvg, the same seeds | judged | accuracy | recall | precision | honest suspended "
        "| bad ones gone after | poisoned adopted | clean adopted | backdoor, FedAvg → ours | victim suspended |",
        "|" + "---|" * 14,
    ]
    for setting in SETTINGS:
        attacks = dict.fromkeys(one["attack"] for one in found if one["setting"] == setting.name)
        for attack in attacks:
            plain = pick(found, setting.name, "fedavg", attack)
            for defence in DEFENCES:
                runs = pick(found, setting.name, defence.name, attack)
                if runs:
                    same = of_same_seeds(plain, runs)
                    cells = [setting.name, attack, str(len(runs)), spread(same), defence.name]
                    cells += describe(setting, same, runs)
                    lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def describe(setting: Setting, plain: Sequence[Found], runs: Sequence[Found]) -> list[str]:
    """The cells of one attack under one way of ours."""
    has_bad = any(run["bad"] for run in runs)
    known = [run["rounds_to_suspend"] for run in runs if run["rounds_to_suspend"] is not None]
    doors = ["–", "–"]
    for at, these in enumerate((plain, runs)):
        values = [run["backdoor"] for run in these if run["backdoor"] is not None]
        if values:
            doors[at] = share(statistics.mean(values))
    is_framing = any(run["attack"] == "framing" for run in runs)
    return [
        spread(runs),
        f"{compute_recall(runs):.2f}" if has_bad else "–",
        f"{compute_precision(runs):.2f}",
        f"{100 * compute_honest_suspended(runs, setting):.1f} %",
        f"{statistics.mean(known):.0f} rounds" if known else "–",
        _adopted(runs, "poisoned"),
        _adopted(runs, "clean"),
        " → ".join(doors) if doors != ["–", "–"] else "",
        f"{sum(run['is_victim_suspended'] for run in runs)} of {len(runs)}" if is_framing else "",
    ]


def _adopted(runs: Sequence[Found], kind: str) -> str:
    total = sum(count for run in runs for name, count in run["counts"].items() if name.startswith(kind))
    adopted = sum(run["counts"].get(f"{kind} adopted", 0) for run in runs)
    return f"{100 * adopted / total:.0f} % of {total // len(runs)}" if total else "–"


def render_pay(found: Sequence[Found]) -> str:
    """What bad and honest members earn, FLOCK each in one run."""
    lines = ["| row | attack | judged | a bad member earns | an honest one earns | ratio |", "|" + "---|" * 6]
    for setting in SETTINGS:
        for attack in dict.fromkeys(one["attack"] for one in found if one["setting"] == setting.name):
            for defence in DEFENCES:
                runs = pick(found, setting.name, defence.name, attack)
                bad = [run["earned_bad"] for run in runs if run["earned_bad"] is not None]
                good = [run["earned_honest"] for run in runs if run["earned_honest"] is not None]
                if bad and good:
                    mean_bad, mean_good = statistics.mean(bad), statistics.mean(good)
                    cells = [f"{mean_bad:.0f}", f"{mean_good:.0f}", f"{mean_bad / mean_good:.2f}"]
                    lines.append(f"| {setting.name} | {attack} | {defence.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else ""


def render_framed(framed: Sequence[Framed]) -> str:
    """What framers can do to one victim."""
    lines = ["| row | victim beside a framer | victim suspended | alliances |", "|---|---|---|---|"]
    for one in framed:
        cells = [one["setting"], f"{100 * one['beside']:.0f} %", f"{100 * one['chance']:.1f} %", str(one["alliances"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def render_captures(captures: Sequence[Captures]) -> str:
    """Committees that bad members decide."""
    lines = [
        f"| N = {MEMBERS}, {BAD} bad, {ROUNDS:,} rounds | captured, by seed | expected | blocked, by seed | must | |",
        "|---|---|---|---|---|---|",
    ]
    for validators, most in COMMITTEES:
        these = [one for one in captures if one["validators"] == validators]
        if not these:
            continue
        counts, blocks = (", ".join(str(one[name]) for one in these) for name in ("captured", "blocked"))
        worst = max(one["captured"] for one in these)
        verdict = "" if most is None else "met" if worst <= most else "**missed**"
        must = "for comparison (BlockDFL)" if most is None else f"≤ {most}"
        lines.append(f"| V = {validators} | {counts} | {these[0]['expected']:.2f} | {blocks} | {must} | {verdict} |")
    return "\n".join(lines) + "\n"
