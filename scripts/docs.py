#!/usr/bin/env python3
"""Writes the documentation that the code decides: ``docs.py [--check]``, called by ``scripts/docs``.

Whole pages in ``docs/reference/``, and in ``docs/explanation/`` what stands between ``<!-- generated: NAME -->`` and
``<!-- end -->``. Nothing else in ``docs/`` is touched. Not shipped with the package.
"""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2p_flock.alliance import trainer, validator  # noqa: E402  the path is set just above
from p2p_flock.chain.deployment_plan import NETWORKS  # noqa: E402
from p2p_flock.cli import estimates, failures  # noqa: E402
from p2p_flock.cli.alliance_create import PRESETS  # noqa: E402
from p2p_flock.cli.main import root as cli_root  # noqa: E402
from p2p_flock.daemon.config import SECTIONS  # noqa: E402
from p2p_flock.daemon.config_template import render_config  # noqa: E402
from p2p_flock.daemon.control_messages import COMMANDS, params_from_json  # noqa: E402
from p2p_flock.daemon.metric_families import METRIC_FAMILIES  # noqa: E402
from p2p_flock.types import DIGEST_BYTES  # noqa: E402

DOCS = ROOT / "docs"
NOTICE = "<!-- Written by scripts/docs from the code; a test fails where it is stale. -->\n"
FLOCK = 10**18


# --- the command line ------------------------------------------------------------------------------------------


def walk_commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, with the words that call each."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=words[-1])
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from walk_commands(child, (*words, name))


def render_cli() -> str:
    """Every command with its arguments and options, as ``--help`` tells them."""
    commands = list(walk_commands(cli_root, ("p2p-flock",)))
    names = [" ".join(words) for words, _ in commands]
    parts = [
        "# Command line\n",
        NOTICE,
        "Every command has `--help`. Where `--home` is not given, `$P2P_FLOCK_HOME` counts, then "
        "`~/.local/share/p2p-flock`. [Exit codes](exit-codes.md) are the same for all.\n",
        "\n".join(f"* [`{name}`](#{name.replace(' ', '-')})" for name in names) + "\n",
    ]
    for words, command in commands:
        context = click.Context(command, info_name=" ".join(words))
        usage = " ".join([*words, *command.collect_usage_pieces(context)])
        parts.append(f"## {' '.join(words)}\n\n`{usage}`\n\n{paragraphs(command.help)}")
        rows = [option_row(option, context) for option in command.params if isinstance(option, click.Option)]
        if rows:
            parts.append("| option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def paragraphs(text: str | None) -> str:
    """Help text as Markdown; what click keeps in lines (after a backspace) becomes a list."""
    blocks = re.split(r"\n\s*\n", (text or "").strip())
    return (
        "\n\n".join(
            "\n".join(f"* `{line.strip()}`" for line in block.strip("\b\n ").splitlines())
            if "\b" in block
            else " ".join(block.split())
            for block in blocks
        )
        + "\n"
    )


def option_row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    names, meaning = record if record is not None else (", ".join(option.opts), "")
    return f"| {code(cell(names))} | {cell(meaning).replace('<', '&lt;')} |"


def code(text: str) -> str:
    return f"`{text}`"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- the settings ----------------------------------------------------------------------------------------------


def render_settings() -> str:
    """Every setting of ``config.toml``; those for tests only are named, not explained."""
    parts = [
        "# Settings\n",
        NOTICE,
        "One TOML file, `config.toml` in the node's home. `p2p-flock init` writes it, `p2p-flock config template` "
        "prints one, `p2p-flock config check` reads yours as the node does. A variable of the environment overrides "
        "a setting; paths are relative to the file's folder. A change counts from the node's next start.\n",
    ]
    for section, kind in SECTIONS.items():
        lines = [f"## [{section}]\n"]
        if section == "test":
            names = ", ".join(code(field.name) for field in dataclasses.fields(kind))
            lines.append(f"For tests on a local chain; a node refuses them anywhere else: {names}.\n")
            parts.append("\n".join(lines))
            continue
        hints = get_type_hints(kind)
        lines += ["| setting | type | default | meaning | variable |", "|---|---|---|---|---|"]
        for field in dataclasses.fields(kind):
            default = default_text(section, field)
            variable = code(f"P2P_FLOCK_{section}_{field.name}".upper())
            meaning = cell(str(field.metadata["comment"])).replace("<", "&lt;") + check_text(
                field.metadata.get("check")
            )
            lines.append(f"| `{field.name}` | {type_text(hints[field.name])} | {default} | {meaning} | {variable} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def default_text(section: str, field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    if field.default is None:
        return "–"
    if field.default == ():
        return "none"
    line = next(
        line for line in render_config({}).partition(f"[{section}]")[2].splitlines() if f"# {field.name} =" in line
    )
    return code(line.partition("= ")[2])


def check_text(check: Callable[[Any], None] | None) -> str:
    """The bounds of a number, which its check keeps in its closure."""
    if check is None or check.__qualname__ != "between.<locals>.check":
        return ""
    bounds = dict(zip(check.__code__.co_freevars, (c.cell_contents for c in check.__closure__ or ()), strict=True))
    return f" ({bounds['low']:,} to {bounds['high']:,})"


def type_text(hint: object) -> str:
    """A type in words; a TypedDict as a link to its own table."""
    simple = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "any"}
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and is_typeddict(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    if origin in (list, tuple):
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"object of {type_text(arguments[1])}"
    if arguments:  # Literal
        return ", ".join(code(str(argument)) for argument in arguments)
    return simple.get(hint, getattr(hint, "__name__", str(hint)))  # type: ignore[call-overload, no-any-return]


# --- the control API -------------------------------------------------------------------------------------------


def render_control() -> str:
    """Commands and types of the control socket; what the fields mean stands in CONTROL.md."""
    parts = [
        "# Control API: types\n",
        NOTICE,
        "What a running node answers on its control socket, `control.sock` in its home, one JSON object a line. "
        "What each field means, limits and errors: [CONTROL.md](../../p2p_flock/daemon/CONTROL.md). The commands that "
        "only read are also served over HTTP on loopback: [API.md](../../p2p_flock/dashboard/API.md).\n",
        "| command | arguments | result |\n|---|---|---|",
    ]
    kinds: list[type] = []
    for name, (arguments, result) in COMMANDS.items():
        given = ", ".join(f"`{key}`: {type_text(hint)}" for key, hint in get_type_hints(arguments).items())
        parts.append(f"| `{name}` | {given or 'none'} | {type_text(result)} |")
        collect_kinds(result, kinds)
    parts.append("\n## Types\n")
    for kind in sorted(kinds, key=lambda kind: kind.__name__):
        rows = [f"| `{key}` | {type_text(hint)} |" for key, hint in get_type_hints(kind).items()]
        parts.append(f"### {kind.__name__}\n\n| field | type |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def collect_kinds(hint: object, known: list[type]) -> None:
    """All TypedDicts that a type is made of."""
    if isinstance(hint, type) and is_typeddict(hint):
        if hint in known:
            return
        known.append(hint)
        for inner in get_type_hints(hint).values():
            collect_kinds(inner, known)
    for argument in get_args(hint):
        collect_kinds(argument, known)


# --- metrics ---------------------------------------------------------------------------------------------------


def render_metrics() -> str:
    """Every family of ``/metrics``."""
    rows = [
        f"| `{family.full_name}` | {family.kind} | {', '.join(map(code, family.labels)) or '–'} | {cell(family.help)} |"
        for family in METRIC_FAMILIES
    ]
    return (
        f"# Metrics\n\n{NOTICE}\nWhat a node serves at `/metrics`, in Prometheus' text format. How to scrape it: "
        "[Monitor with Prometheus](../how-to/monitor-with-prometheus.md). A metric whose value is not known, or that "
        "has no meaning yet, is missing. What a testnet's nodes write about their rounds is another thing: "
        "[METRICS.md](../../p2p_flock/testnet/METRICS.md).\n\n"
        "| metric | kind | labels | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


# --- exit codes ------------------------------------------------------------------------------------------------


def render_exit_codes() -> str:
    """The table in ``cli/failures.py``."""
    text = failures.EXIT_CODES_TEXT.removeprefix("Exit codes: ").rstrip(".")
    rows = [entry.strip().split(" ", 1) for entry in text.split(";")]
    table = "\n".join(f"| {number} | {cell(meaning)} |" for number, meaning in rows)
    return (
        f"# Exit codes\n\n{NOTICE}\nOf every `p2p-flock` command. A command that fails prints two lines to standard "
        "error: what is wrong, and what to do.\n\n| code | when |\n|---|---|\n" + table + "\n"
    )


# --- parts of explanations -------------------------------------------------------------------------------------


def render_trainer_states() -> str:
    """A trainer's phases as a diagram, from its transition table."""
    edges: dict[tuple[str, str], list[str]] = {}
    for phase, cells in trainer._TABLE.items():
        for event, (_, followers) in cells.items():
            for follower in followers:
                if follower is not phase:
                    edges.setdefault((phase.name, follower.name), []).append(event.__name__)
    return diagram(edges, next(iter(trainer._TABLE)).name)


def render_validator_states() -> str:
    """A validator's phases as a diagram, from its transition table."""
    edges: dict[tuple[str, str], list[str]] = {}
    for phase, cells in validator._TABLE.items():
        for event, (_, followers) in cells.items():
            for follower in followers if event not in validator._ALWAYS else ():
                if follower is not phase:
                    edges.setdefault((phase.name, follower.name), []).append(event.__name__)
        for follower in validator._ADVANCE[phase][1]:
            if follower is not phase:
                edges.setdefault((phase.name, follower.name), []).append("all facts are in")
    return diagram(edges, next(iter(validator._TABLE)).name)


def diagram(edges: Mapping[tuple[str, str], list[str]], first: str) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    lines += [f"    {a} --> {b}: {', '.join(dict.fromkeys(events))}" for (a, b), events in edges.items()]
    return "\n".join([*lines, "```"])


def render_preset_numbers() -> str:
    """What the presets of ``alliance create`` say about time and money."""
    rows = ["| number | `default` | `testnet` | what it is |", "|---|---|---|---|"]
    words = {
        "seat_stake": "what each member pays in, and gets back",
        "reward_per_round": "shared among those who worked in a round",
        "round_count": "rounds, the first of which only sums statistics",
        "provable_slash_bps": "of the stake, taken for one proven contradiction",
        "train_seconds": "for training",
        "seal_seconds": "for the validators to agree who is in the sum",
        "unmask_seconds": "for the trainers' answers",
        "evaluate_seconds": "for judging",
        "penalty_window_seconds": "in which evidence can be brought",
        "unbonding_seconds": "from leaving until the stake can be taken back",
    }
    for name, meaning in words.items():
        shown = [number_text(name, PRESETS[preset][name]) for preset in ("default", "testnet")]
        rows.append(f"| `{name}` | {shown[0]} | {shown[1]} | {meaning} |")
    return "\n".join(rows)


def number_text(name: str, value: object) -> str:
    assert isinstance(value, int)
    if name in ("seat_stake", "reward_per_round"):
        return f"{value // FLOCK:,} FLOCK"
    if name.endswith("_bps"):
        return f"{value / 100:g} %"
    if name.endswith("_seconds"):
        for unit, seconds in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
            if value >= seconds and value % seconds == 0:
                return f"{value // seconds} {unit if value > seconds else unit.removesuffix('s')}"
        return f"{value} seconds"
    return f"{value:,}"


def render_cost_per_round() -> str:
    """Gas and US dollars of a round, by the estimates that ``alliance create`` shows."""
    rows = ["| members | validators | gas of a round | USD a round | USD to join |", "|---|---|---|---|---|"]
    for seats, validators in ((8, 3), (23, 7), (64, 21)):
        values = {**PRESETS["default"], "threshold": 3, "collusion_bound": 0}
        values |= {"seat_count_min": seats, "seat_count_max": seats, "validator_count": validators}
        gas = estimates.estimate_gas(params_from_json(values, bytes(DIGEST_BYTES)), seats)
        usd = estimates.DEFAULT_PRICES.usd
        rows.append(
            f"| {seats} | {validators} | {gas.round_gas:,} | {usd(gas.round_gas):.3f} | {usd(gas.join_gas):.3f} |"
        )
    return "\n".join([*rows, "", estimates.DEFAULT_PRICES.describe()])


def render_governance_numbers() -> str:
    """Delays and thresholds that a deployment starts with."""
    rows = ["| network | wait before voting | voting | to propose | quorum | wait before it is done |"]
    rows.append("|---|---|---|---|---|---|")
    for name, terms in NETWORKS.items():
        if name == "local":
            continue
        law = terms.governance
        times = [number_text("_seconds", s) for s in (law.voting_delay_s, law.voting_period_s, law.timelock_delay_s)]
        propose = f"{law.proposal_threshold_wei // FLOCK:,} gmFLOCK"
        rows.append(f"| {name} | {times[0]} | {times[1]} | {propose} | {law.quorum_percent} % | {times[2]} |")
    return "\n".join(rows)


PAGES: Mapping[str, Callable[[], str]] = {
    "reference/cli.md": render_cli,
    "reference/config.md": render_settings,
    "reference/control-api.md": render_control,
    "reference/exit-codes.md": render_exit_codes,
    "reference/metrics.md": render_metrics,
}
PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "explanation/a-round-in-pictures.md": {
        "trainer states": render_trainer_states,
        "validator states": render_validator_states,
    },
    "explanation/economics.md": {
        "preset numbers": render_preset_numbers,
        "cost per round": render_cost_per_round,
        "governance numbers": render_governance_numbers,
    },
}


def fill(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A page with its generated parts as they are now.

    Raises:
        SystemExit: the page has no place for one of them.
    """
    for name, render in parts.items():
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"no place for {name!r}")
        text = pattern.sub(lambda match, render=render: f"{match[1]}\n{render()}\n\n{match[2]}", text)  # type: ignore[misc]
    return text


def build_pages() -> dict[str, str]:
    """Text by path below ``docs/`` of everything that is generated, wholly or in part."""
    built = {path: render().rstrip("\n") + "\n" for path, render in PAGES.items()}
    for path, parts in PARTS.items():
        built[path] = fill((DOCS / path).read_text(encoding="utf-8"), parts)
    return built


def main() -> int:
    """Exit code: with ``--check`` 1 where something is stale."""
    is_check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not is_check:
        raise SystemExit("usage: scripts/docs [--check]")
    stale = []
    for path, text in build_pages().items():
        file = DOCS / path
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not is_check:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
    print(("stale: " if is_check else "written: ") + (", ".join(stale) or "none"))
    return 1 if stale and is_check else 0


if __name__ == "__main__":
    sys.exit(main())
