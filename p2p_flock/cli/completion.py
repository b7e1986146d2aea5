"""``p2p-flock completion SHELL``: the script that makes a shell complete commands, options and alliance IDs.

The shells' side is click's, but for bash: an alliance ID has colons, at which bash splits words. Completing must be
quick, so it imports nothing heavy and gives a running daemon a fraction of a second to name its alliances.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, get_completion_class

from p2p_flock.daemon.data_directory import default_home
from p2p_flock.errors import P2PFlockError

PROGRAM = "p2p-flock"
VARIABLE = "_P2P_FLOCK_COMPLETE"  # click's name for it: what the script sets when it asks
ASK_S_MAX = 0.3  # for all questions together: longer, and the terminal feels stuck

# As click's, but the words are those of the typed line (COMP_LINE), not bash's, which ends words at colons; and what
# bash has already of the word, up to the last colon, is taken off the answers.
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" word="" kept="" answer type value
    local -a words
    read -ra words <<< "$line"
    if [[ "$line" == *[[:space:]] ]]; then words+=(""); fi
    word="${words[${#words[@]}-1]}"
    if [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then kept="${word%%:*}:"; fi
    COMPREPLY=()
    while IFS= read -r answer; do
        type="${answer%%%%,*}"
        value="${answer#*,}"
        case "$type" in
            dir) compopt -o dirnames 2> /dev/null ;;
            file) compopt -o default 2> /dev/null ;;
            plain) COMPREPLY+=("${value#"$kept"}") ;;
        esac
    done < <(COMP_WORDS="$line" COMP_CWORD=$((${#words[@]} - 1)) \\
        %(complete_var)s=bash_complete "${words[0]}" 2> /dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class BashWithColons(ShellComplete):
    """Bash 4.4 or newer."""

    name = "bash"
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        from click.shell_completion import split_arg_string  # noqa: PLC0415  only where bash asks

        words = split_arg_string(os.environ["COMP_WORDS"])
        place = int(os.environ["COMP_CWORD"])
        return words[1:place], words[place] if place < len(words) else ""

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value}"


add_completion_class(BashWithColons)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that makes your shell complete p2p-flock.

    \b
    bash:  p2p-flock completion bash > ~/.local/share/bash-completion/completions/p2p-flock
    zsh:   p2p-flock completion zsh > ~/.zfunc/_p2p-flock   (with ~/.zfunc in fpath)
    fish:  p2p-flock completion fish > ~/.config/fish/completions/p2p-flock.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())


def complete_alliance(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """IDs that the running daemon knows and that begin so; none where it does not answer in time."""
    from p2p_flock.daemon.control_client import control_call  # noqa: PLC0415  only where a shell asks

    home = context.params.get("home")
    if not isinstance(home, Path):
        home = default_home(os.environ)
    ends_at = time.monotonic() + ASK_S_MAX
    found: dict[str, str] = {}
    try:
        status = control_call(home.expanduser(), "status", {}, ASK_S_MAX)
        if isinstance(status.get("alliance"), str):
            found[status["alliance"]] = "this node's"
        listed = control_call(home.expanduser(), "alliance.list", {}, max(0.01, ends_at - time.monotonic()))
        for entry in listed.get("alliances", []):
            found.setdefault(str(entry["alliance"]), f"task {entry['task']}")
    except (P2PFlockError, KeyError, TypeError):
        pass
    return [
        CompletionItem(alliance, help=about) for alliance, about in found.items() if alliance.startswith(incomplete)
    ]
