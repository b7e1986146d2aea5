"""``p2p-flock alliance create`` by questions: twelve of them in plain words, each with what its answer means.

Called by ``alliance_create.py`` where no file names the numbers. Asks on the terminal and returns parameters by name,
as a TOML file would; sends nothing. What is asked in people ("how many may be dishonest?") becomes the shares that the
solver takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from p2p_flock.alliance.risk import choose_suspicion_bound
from p2p_flock.alliance.solver import SHARE_DENOMINATOR, InfeasibleError, Population, Security, describe_bits, solve
from p2p_flock.cli.alliance_admission import format_utc, parse_join_deadline, read_allowlist
from p2p_flock.cli.alliance_security import Assumptions
from p2p_flock.cli.amounts import format_money, format_seconds, parse_flock
from p2p_flock.cli.creating.fitting import Answers, choose_cohorts, choose_validators, fit
from p2p_flock.cli.estimates import Prices, compute_round_gas
from p2p_flock.errors import P2PFlockError, ParameterError, UsageError
from p2p_flock.params import COHORTS_MAX, SEATS_MAX, VALIDATORS_MAX

Answer = TypeVar("Answer")

SEATS_MIN = 6
ROUNDS_MAX = 100_000
TRAIN_SECONDS_MAX = 7 * 86_400
DURATIONS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Answered:
    """What the questions came to.

    Attributes:
        values: parameters by name, threshold and collusion bound among them where any serve.
        owners: addresses on the allowlist, ascending; none where anybody may join.
    """

    task: str
    values: dict[str, object]
    owners: tuple[bytes, ...]
    assumptions: Assumptions


def ask_all(tasks: Sequence[str], prices: Prices) -> Answered:
    """Ask everything, in an order in which each consequence can be told at once.

    Args:
        tasks: names of the installed ones; the first is the default.

    Raises:
        click.Abort: the user ended it.
    """
    say("An alliance's numbers are fixed for ever. Enter takes the value in brackets; Ctrl-C ends, nothing is sent.")
    task = _ask_task(tasks)
    members = _ask_number(
        "How many organisations will take part?", 8, SEATS_MIN, SEATS_MAX,
        lambda n: f"The alliance starts when all {n} have joined, and has no more seats.",
    )  # fmt: skip
    rounds = _ask_number(
        "How many rounds of training?", 30, 1, ROUNDS_MAX,
        lambda n: f"{n + 1} rounds are paid for: one more sums the statistics of everybody's data first.",
    )  # fmt: skip
    bad = _ask_number(
        "How many of them may be dishonest and work together?", max(1, members // 5), 0, members // 2,
        lambda n: f"Masks and committee are chosen to hold against {n} of {members}." if n else
        "You trust everybody: nothing protects an update from members that work together.",
    )  # fmt: skip
    failing = _ask_number(
        "How many may fail in the same round (power, network)?", max(1, members // 10), 0, members // 2,
        lambda n: f"With {n} missing, what the others trained still counts.",
    )  # fmt: skip
    validators = _ask_number(
        "How many validators, who check and add up in each round?", choose_validators(members, rounds + 1, bad), 1,
        min(VALIDATORS_MAX, members - 4),
        lambda n: f"They are drawn anew every round; {members - n} members train. A verdict takes {-(-2 * n // 3)} of "
        f"them. A round costs about {_usd(n, members, prices)} in gas, which validators pay and get back in FLOCK.",
    )  # fmt: skip
    assumptions = _assume(members, bad, failing)
    cohorts = _ask_cohorts(members, validators, rounds + 1, assumptions)
    train_s = _ask(
        "How long may the training of one round take at the slowest member?", "30 min", parse_duration,
        lambda n: f"When all are done it goes on at once; after {format_seconds(n)} without those that are late.",
    )  # fmt: skip
    stake = _ask(
        "What does each member stake (lost only for proven cheating)?", "1000 FLOCK", _positive_flock,
        lambda n: f"Every member locks {format_money(n, 'FLOCK')}; a proven offence takes a tenth of it.",
    )  # fmt: skip
    reward = _ask(
        "What does a round pay to all who worked in it, together?", "100 FLOCK", parse_flock,
        lambda n: f"You escrow {format_money(n * (rounds + 1), 'FLOCK')} for all rounds now.",
    )  # fmt: skip
    owners = _ask_owners()
    deadline_s = _ask_deadline()
    answers = Answers(members, rounds + 1, validators, cohorts, train_s, stake, reward, deadline_s)
    values = fit(answers) | _bounds(answers, assumptions)
    return Answered(task, values, owners, assumptions)


def say(text: str) -> None:
    """To standard error: standard output is for what a program reads."""
    click.echo(text, err=True)


def parse_duration(text: str) -> int:
    """Seconds of ``30 min``, ``45s``, ``2 h`` or ``1 d``; a bare number is seconds.

    Raises:
        UsageError: none of these, or not between 3 seconds and a week.
    """
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text.strip()[len(number) :].strip() or "s"
    if unit not in DURATIONS or not number.isascii() or not number.isdigit() or len(number) > 9:
        raise UsageError(f'{text!r} is no time\nwrite it like "30 min", "45 s", "2 h"')
    seconds = int(number) * DURATIONS[unit]
    if not 3 <= seconds <= TRAIN_SECONDS_MAX:
        raise UsageError(f"{text!r} is no time for a round\nname one between 3 s and 7 d")
    return seconds


# --- single questions --------------------------------------------------------------------------------------------


def _ask(text: str, default: str, read: Callable[[str], Answer], consequence: Callable[[Answer], str]) -> Answer:
    """Until the answer can be read; then say what it means."""
    while True:
        given = click.prompt(f"\n{text}", default=default, type=str, err=True)
        try:
            answer = read(str(given))
        except P2PFlockError as error:
            say("  " + str(error).replace("\n", ": "))
            continue
        say(f"  → {consequence(answer)}")
        return answer


def _ask_number(text: str, default: int, least: int, most: int, consequence: Callable[[int], str]) -> int:
    def read(given: str) -> int:
        if not given.isascii() or not given.isdigit() or len(given) > 9 or not least <= int(given) <= most:
            raise UsageError(f"{given!r} does not do\nwrite a whole number from {least} to {most}")
        return int(given)

    return _ask(text, str(min(max(default, least), most)), read, consequence)


def _ask_task(tasks: Sequence[str]) -> str:
    def read(given: str) -> str:
        # A variant of a task has its noise behind a plus sign: heart+noise2.86 (learning/PRIVACY.md).
        if given.partition("+")[0] not in tasks:
            raise UsageError(f"{given!r} is not installed here\ninstalled: {', '.join(tasks) or 'none'}")
        return given

    default = tasks[0] if tasks else ""
    return _ask(
        f"Which task is trained? Installed: {', '.join(tasks) or 'none'}.", default, read,
        lambda name: f"Every member must have the task {name} installed, in the same version.",
    )  # fmt: skip


def _ask_cohorts(members: int, validators: int, rounds: int, assumptions: Assumptions) -> int:
    def consequence(count: int) -> str:
        size = (members - validators) // count
        text = f"Trainers are drawn into {count} groups of about {size}; only sums over a group are ever seen."
        if count == 1:
            text = f"All {size} trainers are summed together. A bad one spoils the round and cannot be found."
        return f"{text} {_worth(Population(members, validators, count, rounds, *_shares(assumptions)), assumptions)}"

    most = min(COHORTS_MAX, max(1, (members - validators) // 4))
    population = Population(members, validators, 1, rounds, *_shares(assumptions))
    return _ask_number("Into how many cohorts?", choose_cohorts(population, assumptions), 1, most, consequence)


def _ask_owners() -> tuple[bytes, ...]:
    return _ask(
        'Who may join? "anybody", or a file with one address a line', "anybody",
        lambda given: () if given == "anybody" else read_allowlist(Path(given).expanduser()),
        lambda owners: f"Only the {len(owners)} listed addresses can join, for ever." if owners else
        "Whoever has the task, the stake and the alliance's ID can join.",
    )  # fmt: skip


def _ask_deadline() -> int:
    return _ask(
        'Until when may one join? "none", or like 2026-12-24T18:00Z or +2d12h', "none",
        lambda given: 0 if given == "none" else parse_join_deadline(given, int(time.time())),
        lambda moment: f"Nobody joins after {format_utc(moment)}." if moment else "One may join while a seat is free.",
    )  # fmt: skip


def _positive_flock(text: str) -> int:
    amount = parse_flock(text)
    if amount == 0:
        raise UsageError("a seat costs a stake\nwrite more than 0 FLOCK")
    return amount


# --- what follows ------------------------------------------------------------------------------------------------


def _assume(members: int, bad: int, failing: int) -> Assumptions:
    """Shares of which the solver's floor of the product is the number asked for."""
    permille = [-(-SHARE_DENOMINATOR * count // members) for count in (bad, failing)]
    return Assumptions(*permille)


def _shares(assumptions: Assumptions) -> tuple[int, int]:
    return assumptions.corrupt_permille, assumptions.dropout_permille


def _worth(population: Population, assumptions: Assumptions) -> str:
    found = _solve(population, assumptions)
    if found is None:
        return "That is too few for any masks: take fewer cohorts."
    leak, void = describe_bits(found.privacy_bits), describe_bits(found.delivery_bits)
    return (
        f"The best masks: {found.threshold} owners open a sum, {found.collusion_bound} of them may work together. "
        f"An update leaks in all rounds: {leak}; a cohort of a round is lost: {void}."
    )


def _solve(population: Population, assumptions: Assumptions) -> Security | None:
    """What is asked for, else the best there is, else nothing."""
    try:
        return solve(population, assumptions.privacy_bits, assumptions.delivery_bits)
    except InfeasibleError as error:
        return error.best
    except ParameterError:
        return None


def _bounds(answers: Answers, assumptions: Assumptions) -> dict[str, object]:
    """Threshold, collusion bound and suspicion bound; what serves no cohort is left to the parameters' own check."""
    population = Population(answers.members, answers.validators, answers.cohorts, answers.rounds, *_shares(assumptions))
    found = _solve(population, assumptions)
    bounds: dict[str, object] = {"threshold": 3, "collusion_bound": 0}
    if found is not None:
        bounds = {"threshold": found.threshold, "collusion_bound": found.collusion_bound}
    return {**bounds, "suspicion_bound": choose_suspicion_bound(population)}


def _usd(validators: int, members: int, prices: Prices) -> str:
    """Of a round with one cohort."""
    return f"{prices.usd(sum(compute_round_gas(validators, 1, members - validators))):.4f} USD"
