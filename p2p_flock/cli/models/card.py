"""The model card of an export: what the model is, who made it, how to load it, and what nobody promises. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from p2p_flock.cli.models.provenance import Provenance
from p2p_flock.learning.tensor_file import STATISTICS_NAME, TensorPlace

ROUNDS_LISTED = 50
TENSORS_LISTED = 40


def render_card(
    provenance: Provenance, places: Sequence[TensorPlace], manifest: Mapping[str, object], confirmation: str
) -> str:
    """``README.md``.

    Args:
        manifest: the task manifest as a table.
        confirmation: what on chain names this model, in a sentence.
    """
    task, model = provenance["task"], provenance["model"]
    adopted = [entry for entry in provenance["rounds"] if "adopted" in entry["cohort_outcomes"]]
    parts = [
        f"# {task['name']} {task['version']}: the model of an alliance after round {model['round']}",
        "Trained by several organisations together with p2p_flock. No record left any of them; each round's update is "
        "a sum that nobody could open alone, and validators accepted it by their own private data.",
        "## Where it comes from",
        _table(
            [
                ("alliance", f"`{provenance['alliance']}`"),
                ("contract", f"`{provenance['contract']}`"),
                ("task", f"{task['name']} {task['version']}, manifest `{task['manifest_digest']}`"),
                ("model digest", f"`{model['digest']}`"),
                ("after round", f"{model['round']}; {len(adopted)} rounds were adopted up to it"),
                ("on chain", confirmation),
                ("exported by", f"`{provenance['exported_by']}` with p2p-flock {provenance['version']}"),
            ]
        ),
        "Check it yourself, against a chain that you trust: `p2p-flock model verify DIR --rpc-url URL`.",
        "## Load it",
        _loading(),
        f"`{STATISTICS_NAME}` holds the sums over all members' records that the task's preprocessing follows from "
        "(means, deviations); a model fed with values that were prepared otherwise is wrong. Tensors: "
        + _tensors(places)
        + ".",
        "## How it was trained",
        _table([(name, _cell(manifest.get(name))) for name in ("model", "loss", "optimiser", "preprocessing",
                "local_epochs", "batch_size", "learning_rate", "clip_norm")]),
        _privacy(provenance),
        "## Who took part",
        "Owners whose updates are in the model, and the rounds they were in:",
        "\n".join(f"- `{entry['owner']}`: {_ranges(entry['rounds'])}" for entry in provenance["participants"])
        or "nobody yet: no round was adopted",
        "## Rounds",
        _rounds(provenance),
        "## Limits",
        "- It was trained for the task above on the data that its members had, and tested by them on records of the "
        "same kind. For other people, places, times or devices nothing is known.\n"
        "- Validators judged each round by their own private test data. The scores above are the exporter's alone; "
        "nobody else can recompute them.\n"
        "- It is no medical device and no credit decision. Whoever uses it for one has to test and to answer for it.\n"
        "- Members are accounts. Who is behind an account, the chain does not say.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _loading() -> str:
    return (
        "```python\n"
        "from safetensors.torch import load_file\n"
        'state = load_file("model.safetensors")\n'
        f'statistics = state.pop("{STATISTICS_NAME}")  # for the task\'s preprocessing\n'
        "model = YourModel()  # the task's model, with the tensors named below\n"
        "model.load_state_dict(state)  # float64 is rounded to the model's float32\n"
        "```"
    )


def _tensors(places: Sequence[TensorPlace]) -> str:
    named = [f"`{place.name}` {'x'.join(map(str, place.shape)) or 'scalar'}" for place in places[:TENSORS_LISTED]]
    more = f" and {len(places) - TENSORS_LISTED} more" if len(places) > TENSORS_LISTED else ""
    return ", ".join(named) + more


def _privacy(provenance: Provenance) -> str:
    privacy = provenance["privacy"]
    if privacy is None:
        return (
            "No noise was added: what the sums of many rounds tell about one member's data has no formal bound "
            "(p2p_flock/learning/PRIVACY.md)."
        )
    epsilon = "no finite ε" if privacy["epsilon"] is None else f"ε = {privacy['epsilon']:.3g}"
    return (
        f"Private training: noise of {privacy['noise_multiplier']:g} times the sensitivity in every sum. "
        f"Over at most {privacy['rounds']} rounds that is {epsilon} at δ = {privacy['delta']:g} for all records of one "
        "member together."
    )


def _rounds(provenance: Provenance) -> str:
    scores = {entry["round"]: entry for entry in provenance["scores"]}
    rows = [
        "| round | outcome | votes for : against | score at the exporter | its own model alone |",
        "|---|---|---|---|---|",
    ]
    shown = provenance["rounds"][-ROUNDS_LISTED:]
    for entry in shown:
        outcome = ", ".join(entry["cohort_outcomes"]) or "void"
        votes = ", ".join(f"{a}:{b}" for a, b in zip(entry["votes_for"], entry["votes_against"], strict=True))
        score = scores.get(entry["round"])
        own, alone = (None, None) if score is None else (score["own_score"], score["local_only_score"])
        rows.append(f"| {entry['round']} | {outcome} | {votes} | {_score(own)} | {_score(alone)} |")
    left_out = len(provenance["rounds"]) - len(shown)
    return "\n".join(rows) + (f"\n\n{left_out} earlier rounds stand in provenance.json." if left_out else "")


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _cell(value: object) -> str:
    """A task's own words, which must not break the table."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def _ranges(rounds: Sequence[int]) -> str:
    """``1 to 4, 7``."""
    spans: list[list[int]] = []
    for number in rounds:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in spans)
