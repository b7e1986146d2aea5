"""What an alliance asks of a member, in plain words: shown by ``alliance show`` and before ``alliance join``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from p2p_flock.cli.alliance_admission import describe_admission, describe_score_target
from p2p_flock.cli.alliance_risk import describe_risk
from p2p_flock.cli.alliance_security import describe_bounds
from p2p_flock.cli.amounts import WEI_DECIMALS, format_money, format_seconds
from p2p_flock.cli.estimates import DEFAULT_PRICES, GasCost, Prices, estimate_gas, estimate_traffic
from p2p_flock.cli.watching.words import format_bytes
from p2p_flock.daemon.control_messages import AllianceShowResult, TaskResult, params_from_json
from p2p_flock.daemon.watch_messages import PrivacyResult
from p2p_flock.errors import ParameterError
from p2p_flock.params import AllianceParams

SECONDS_IN_A_DAY = 86_400
DAEMON_CPU_SECONDS = 0.3  # of a round besides training, small model, 8 nodes: bench/COST.md, upper end


def params_of(result: AllianceShowResult) -> AllianceParams:
    """The parameters inside a result of ``alliance.show``.

    Raises:
        UsageError: a field is missing or no whole number.
    """
    return params_from_json(result["params"], bytes.fromhex(result["manifest_digest"].removeprefix("0x")))


def round_seconds_max(params: AllianceParams) -> int:
    """Longest that one round's phases can take, seconds; each validator gets its view to seal and to commit."""
    views = params.validator_count
    return (
        params.train_seconds
        + params.seal_seconds * views
        + params.unmask_seconds
        + params.evaluate_seconds
        + params.commit_seconds * views
        + params.settle_seconds
    )


def describe_terms(
    result: AllianceShowResult, prices: Prices = DEFAULT_PRICES, cpu_seconds: float | None = None
) -> Mapping[str, list[str]]:
    """Sentences by heading, in the order in which a member decides: task, privacy, cheats, money, traffic.

    Args:
        cpu_seconds: of one round's training on this machine, from a dry run; ``None`` where there was none.

    Raises:
        UsageError: as :func:`params_of`.
    """
    params = params_of(result)
    return {
        "What you join": describe_task(result, params),
        "What others learn": describe_privacy(result, params),
        "What bad members can do": describe_risk(params),
        "What it costs and pays": describe_money(result, params, prices),
        "Traffic and computing": describe_load(result, params, cpu_seconds),
    }


def describe_task(result: AllianceShowResult, params: AllianceParams) -> list[str]:
    """Model, rounds and time, seats, admission. The columns of the data are a table of their own."""
    longest = round_seconds_max(params)
    lines = [
        f"Task {result['task']} ({_where_installed(result)}).",
        *(_model(result["about"]) if result["about"] is not None else []),
        f"{params.round_count:,} rounds, {result['settled_rounds']:,} settled so far. One round takes at most "
        f"{format_seconds(longest)}, all of them at most {format_seconds(longest * params.round_count)}. "
        f"For training itself, a round leaves {format_seconds(params.train_seconds)}.",
        f"{len(result['seats'])} of {params.seat_count_max} seats are taken; it starts at {params.seat_count_min}. "
        f"Each round draws {params.validator_count} validators; the others train.",
        *describe_admission(result["admission"]),
        *describe_score_target(params),
    ]
    if result["weight_suggested"] is not None:
        lines.append(
            f"Your weight would be {result['weight_suggested']} of at most {params.weight_max}: a coarse, public "
            "measure of how many examples you hold."
        )
    return lines


def _where_installed(result: AllianceShowResult) -> str:
    """What this node knows of its own task: without its data it does not start, so no version can be compared."""
    data = result["data"]
    if result["task_installed"]:
        return "installed here"
    if data["task"] != result["task"] or data["path"] is None:
        return "this node is not set to it: see below what to do"
    if data["error_is_of_data"]:
        return "this node's data for it cannot be used yet: see below what to do"
    if data["error"] is not None:
        return "it does NOT start here: see below what to do"
    return "NOT installed here in the alliance's version: see below what to do"


def _model(about: TaskResult) -> list[str]:
    epochs = "once" if about["local_epochs"] == 1 else f"{about['local_epochs']} times"
    public = " and by public records that come with the task" if about["has_holdout"] else ""
    return [
        f"Model: {about['model']}; {about['parameter_count']:,} numbers are learned.",
        f"In a round your node goes {epochs} over your training records. {about['test_ratio']:.0%} of your records are "
        f"never trained on: by them{public} it judges other members' work"
        + (f" ({about['score_name']})." if about["score_name"] else "."),
    ]


def describe_privacy(result: AllianceShowResult, params: AllianceParams) -> list[str]:
    """What leaves the machine, who can open what, what all rounds together give away."""
    least = params.survivors_min
    together = f", even if {params.collusion_bound} of them work together" if params.collusion_bound else ""
    smallest, largest = (
        params.cohort_owners_min(params.seat_count_min),
        params.cohort_owners_max(params.seat_count_max),
    )
    size = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
    cohorts = "one cohort" if params.cohort_count == 1 else f"{params.cohort_count} cohorts"
    return [
        "Your records stay on this machine. What leaves it is a masked update, which says nothing by itself.",
        f"A round's trainers are {cohorts} of {size} owners, drawn anew every time. The masks come off together only, "
        f"once {params.threshold} owners of a cohort (the threshold) agree.",
        f"Opened is only the sum over a cohort of at least {least} owners. From one round nobody learns more than a "
        f"sum over at least 3 honest owners{together}. Masked updates are public for ever.",
        *describe_bounds(params),
        "Over many rounds sums still leak: who compares rounds with different cohorts can estimate what you "
        f"contribute again and again. Only differential privacy bounds that{_noise(result)}",
        "Public: your address, peer ID, IP address, weight, and in which rounds you took part.",
    ]


def describe_epsilon(privacy: PrivacyResult) -> str:
    """``ε = 8.0 at δ = 1e-05 over 20 rounds``."""
    epsilon = "not bounded" if privacy["epsilon"] is None else f"= {privacy['epsilon']:.2g}"
    return f"ε {epsilon} at δ = {privacy['delta']:g} over at most {privacy['rounds']} rounds as a trainer"


def _noise(result: AllianceShowResult) -> str:
    privacy = result["privacy"]
    if privacy is not None:
        return (
            f". Here every trainer adds noise: {describe_epsilon(privacy)}, for all your records together, against "
            "whoever sees all sums. Your node never trains in more rounds than that. Your votes as a validator and "
            "your weight are not covered. Fewer than dozens of owners learn little under a small ε."
        )
    if result["task_installed"]:
        return ", and this alliance adds none."
    return ". Whether this alliance adds any stands in its task, which this node cannot read yet."


def expected_seats(result: AllianceShowResult, params: AllianceParams) -> int:
    """Members to reckon with: those there are, this one among them, but as many as a round needs."""
    own = 0 if result["own_seat"] is not None else 1
    return min(params.seat_count_max, max(params.seat_count_min, len(result["seats"]) + own))


def describe_money(result: AllianceShowResult, params: AllianceParams, prices: Prices) -> list[str]:
    """Stake, what takes from it, rewards and how one member's share follows, gas."""
    stake, seats = format_money(params.seat_stake, "FLOCK"), expected_seats(result, params)
    share = params.reward_per_round // seats
    return [
        f"You stake {stake}. That is also the most you can lose.",
        f"A provable offence (two contradicting signatures, an invalid share) takes "
        f"{params.provable_slash_bps / 100:g} % of it; being down, late, suspected or of another opinion takes none.",
        *_absence(params),
        f"You get the stake back {format_seconds(params.unbonding_seconds)} after your last round has ended.",
        f"Each round pays {format_money(params.reward_per_round, 'FLOCK')} to those who worked in it: 40 % to the "
        "trainers of adopted cohorts, more where the model improved more, 40 % to the validators that voted, up to "
        "10 % to validators whose votes say more than a habit would, 10 % to those who sent the round's transactions. "
        "What is not earned stays in the pool.",
        f"Your share: at most about {format_about(share)} a round, {format_about(share * rounds_left(result, params))} "
        f"over all rounds that are left. That is the reward by {seats} members, because roles are drawn anew in every "
        "round and even out. You earn less where you are away, or where cohorts that you trained in are rejected.",
        *_gas(result, params, estimate_gas(params, seats), prices),
        f"This account holds {format_money(result['flock'], 'FLOCK')} and {format_money(result['eth'], 'ETH')}.",
    ]


def rounds_left(result: AllianceShowResult, params: AllianceParams) -> int:
    """Rounds that are still to be settled."""
    return max(0, params.round_count - result["settled_rounds"])


def format_about(wei: int) -> str:
    """``5.71 FLOCK``, ``11,434 FLOCK``: what is estimated needs no millionths."""
    amount = wei / 10**WEI_DECIMALS
    return f"{amount:,.0f} FLOCK" if amount >= 100 else f"{amount:.3g} FLOCK"


def _gas(result: AllianceShowResult, params: AllianceParams, gas: GasCost, prices: Prices) -> list[str]:
    rest = gas.member_gas * rounds_left(result, params)
    return [
        f"Every transaction costs you a little ETH for gas: joining {format_priced(gas.join_gas, prices)}; on average "
        f"{format_priced(gas.member_gas, prices)} a round, since validators send a round's transactions in turn; "
        f"{format_priced(rest, prices)} for all rounds that are left.",
        prices.describe(),
    ]


def format_priced(gas: int, prices: Prices) -> str:
    """``0.0000025 ETH (0.0075 USD)``, for so much gas."""
    return f"{_two_digits(prices.eth(gas))} ETH ({_two_digits(prices.usd(gas))} USD)"


def _two_digits(value: float) -> str:
    """``0.0000025``, ``2.2``, ``1,200``: never with an exponent."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{Decimal(f'{value:.2g}'):f}"


def _absence(params: AllianceParams) -> list[str]:
    if not params.absence_slash_bps:
        return []
    return [
        "Who was sealed into a round and does not answer when the chain asks for its unmasking within "
        f"{format_seconds(params.penalty_window_seconds)} loses {params.absence_slash_bps / 100:g} % of the stake, at "
        "most three times. This version's node cannot answer yet, so it does not join."
    ]


def describe_load(result: AllianceShowResult, params: AllianceParams, cpu_seconds: float | None) -> list[str]:
    """Bytes and CPU seconds per round and day."""
    daily = SECONDS_IN_A_DAY / round_seconds_max(params)
    return [
        *_traffic(result, params, daily),
        *_computing(cpu_seconds, daily),
        f"A day is reckoned with {daily:,.0f} rounds that take as long as they may. Rounds mostly end sooner: then the "
        "alliance is over sooner, and a day holds more of them.",
    ]


def _traffic(result: AllianceShowResult, params: AllianceParams, daily: float) -> list[str]:
    about, seats = result["about"], expected_seats(result, params)
    if about is None:
        return ["How much is sent depends on the size of the task's model, which this node cannot read yet."]
    try:
        traffic = estimate_traffic(params, about["parameter_count"], about["statistics_count"], seats)
    except ParameterError as error:
        return [f"What is sent cannot be estimated: {error}."]
    mean = traffic.mean_bytes
    return [
        f"With {seats} members, a round as a trainer sends about {format_bytes(traffic.trainer_up_bytes)} and receives "
        f"{format_bytes(traffic.trainer_down_bytes)}, as a validator {format_bytes(traffic.validator_up_bytes)} and "
        f"{format_bytes(traffic.validator_down_bytes)}. On average that is {format_bytes(mean)} a round both ways, "
        f"{format_bytes(round(mean * daily))} a day, {format_bytes(mean * rounds_left(result, params))} for all rounds "
        "that are left. What the node asks the chain's endpoint comes on top."
    ]


def _computing(cpu_seconds: float | None, daily: float) -> list[str]:
    if cpu_seconds is None:
        return [
            "How long this machine computes is measured by a dry run: `p2p-flock task check --dry-run`, or when you "
            "join."
        ]
    together = cpu_seconds + DAEMON_CPU_SECONDS
    return [
        f"Training takes this machine about {format_cpu(cpu_seconds)} of one CPU core a round; masks and messages "
        f"take about {format_cpu(DAEMON_CPU_SECONDS)} with a small model, more with a large one. Together "
        f"{format_cpu(together * daily)} a day, less in rounds in which it only judges."
    ]


def format_cpu(seconds: float) -> str:
    """``0.04 s``, ``2.5 s``, then as ``format_seconds``."""
    return f"{seconds:.2g} s" if seconds < 10 else format_seconds(round(seconds))
