"""Whether a command that the documentation names exists, with its options: by the programs' own declarations."""

from __future__ import annotations

import re
import shlex

import click

from p2p_flock.cli.main import root
from tests.docs.pages import ROOT

# Where each script's options are declared; the script itself is looked at, too.
SOURCES = {
    "audit": ("contracts/audit/*.py",),
    "bench": ("p2p_flock/bench/*.py",),
    "contracts": (),
    "deploy": ("p2p_flock/cli/deploy.py",),
    "docs": ("scripts/docs.py",),
    "fuzz": ("tests/fuzz/*.py", "scripts/fuzz"),
    "simulate": ("p2p_flock/testing/*.py",),
    "test": ("scripts/steps.py",),
    "testnet": ("p2p_flock/testnet/__main__.py", "p2p_flock/testnet/invite.py"),
}
OPTION = re.compile(r"--[a-z][a-z0-9-]*")


def split_commands(text: str) -> list[list[str]]:
    """The words of every command of ours in lines of shell, without what stands before them and after a comment."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = list(shlex.shlex(line, posix=True, punctuation_chars="|&;<>()"))
        except ValueError:  # a quotation over several lines is no command of ours
            continue
        words = _joined(line, words)
        for command in words:
            while command and re.fullmatch(r"[A-Z_0-9]+=.*|sudo|exec|time", command[0]):
                command = command[1:]
            if command and (command[0] == "p2p-flock" or command[0].startswith("scripts/")):
                commands.append(command)
    return commands


def _joined(line: str, words: list[str]) -> list[list[str]]:
    """The same line cut at operators; shlex by itself takes ``--home=x`` apart."""
    if not words:
        return []
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    cut: list[list[str]] = [[]]
    for word in lexer:
        if re.fullmatch(r"[|&;]+", word):
            cut.append([])
        elif re.fullmatch(r"[<>()]+", word):
            continue
        else:
            cut[-1].append(word)
    return cut


def find_faults(words: list[str]) -> list[str]:
    """What of a command does not exist; empty where all does."""
    if words[0] == "p2p-flock":
        return _faults_of_cli(words[1:])
    return _faults_of_script(words)


def _faults_of_cli(words: list[str]) -> list[str]:
    command: click.Command = root
    context = click.Context(root, info_name="p2p-flock")
    path = ["p2p-flock"]
    faults = []
    for word in words:
        if word.startswith("--") or re.fullmatch(r"-[a-z]", word):
            known = {name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)}
            if word.partition("=")[0] not in known | {"-h", "--help"}:
                faults.append(f"{' '.join(path)} has no option {word}")
        elif isinstance(command, click.Group):
            if not re.match(r"[a-z]", word):  # …, [OPTIONS], COMMAND: stands for something
                break
            child = command.get_command(context, word)
            if child is None:
                return [*faults, f"{' '.join(path)} has no command {word}"]
            command, path = child, [*path, word]
            context = click.Context(command, info_name=word)
    return faults


def _faults_of_script(words: list[str]) -> list[str]:
    script = ROOT / words[0]
    if not script.is_file():
        return [f"there is no {words[0]}"]
    patterns = (*SOURCES.get(script.name, ()), words[0])
    text = "".join(path.read_text(encoding="utf-8") for pattern in patterns for path in ROOT.glob(pattern))
    return [
        f"{words[0]} has no option {word}"
        for word in words[1:]
        if word.startswith("--") and not re.search(rf"{re.escape(OPTION.match(word)[0])}(?![a-z-])", text)  # type: ignore[index]
    ]
