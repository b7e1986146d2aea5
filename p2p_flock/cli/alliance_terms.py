"""What an alliance asks of a member, in plain words: shown by ``alliance show`` and before ``alliance join``. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from p2p_flock.cli.alliance_admission import describe_admission, describe_score_target
from p2p_flock.cli.alliance_risk import describe_risk
from p2p_flock.cli.alliance_security import describe_bounds
from p2p_flock.cli.amounts import format_money, format_seconds
from p2p_flock.daemon.control_messages import AllianceShowResult, params_from_json
from p2p_flock.daemon.watch_messages import PrivacyResult
from p2p_flock.params import AllianceParams


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


def describe_terms(result: AllianceShowResult) -> Mapping[str, list[str]]:
    """Sentences by heading: work, money, privacy, cheats. Numbers come from the chain, words from DESIGN §2 and §6.

    Raises:
        UsageError: as :func:`params_of`.
    """
    params = params_of(result)
    return {
        "What you join": _work(result, params),
        "What it costs": _money(params),
        "What others learn": _privacy(result, params),
        "What bad members can do": describe_risk(params),
    }


def _work(result: AllianceShowResult, params: AllianceParams) -> list[str]:
    longest = round_seconds_max(params)
    installed = "installed here" if result["task_installed"] else "NOT installed here: install its package first"
    lines = [
        f"Task {result['task']} ({installed}).",
        f"{params.round_count} rounds, {result['settled_rounds']} settled so far. One round takes at most "
        f"{format_seconds(longest)}, all of them at most {format_seconds(longest * params.round_count)}.",
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


def _money(params: AllianceParams) -> list[str]:
    stake = format_money(params.seat_stake, "FLOCK")
    return [
        f"You stake {stake}. That is also the most you can lose.",
        f"A provable offence (two contradicting signatures, an invalid share) takes "
        f"{params.provable_slash_bps / 100:g} % of it; being down, late, suspected or of another opinion takes none.",
        *_absence(params),
        f"Each round pays {format_money(params.reward_per_round, 'FLOCK')} to those who worked in it: 40 % to the "
        "trainers of adopted cohorts, more where the model improved more, 40 % to the validators that voted, up to "
        "10 % to validators whose votes say more than a habit would, 10 % to those who sent the round's transactions. "
        "What is not earned stays in the pool.",
        "Every transaction costs you a little ETH for gas.",
        f"You get the stake back {format_seconds(params.unbonding_seconds)} after your last round has ended.",
    ]


def _absence(params: AllianceParams) -> list[str]:
    if not params.absence_slash_bps:
        return []
    return [
        "Who was sealed into a round and does not answer when the chain asks for its unmasking within "
        f"{format_seconds(params.penalty_window_seconds)} loses {params.absence_slash_bps / 100:g} % of the stake, at "
        "most three times. This version's node cannot answer yet, so it does not join."
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
    return ". Whether this alliance adds any stands in its task, which is not installed here."


def _privacy(result: AllianceShowResult, params: AllianceParams) -> list[str]:
    least = params.survivors_min
    together = f", even if {params.collusion_bound} of them work together" if params.collusion_bound else ""
    return [
        "Your records stay on this machine. What leaves it is a masked update, which says nothing by itself.",
        f"Opened is only the sum over a cohort of at least {least} owners. From one round nobody learns more than a "
        f"sum over at least 3 honest owners{together}. Masked updates are public for ever.",
        *describe_bounds(params),
        "Over many rounds sums still leak: who compares rounds with different cohorts can estimate what you "
        f"contribute again and again. Only differential privacy bounds that{_noise(result)}",
        "Public: your address, peer ID, IP address, weight, and in which rounds you took part.",
    ]
