"""``p2p-flock model verify DIR``: is an exported model the one that the alliance made? Exit code 0: yes; 1: no."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click
import trio

from p2p_flock.chain.adapter import ChainConfig
from p2p_flock.cli.failures import EXIT_FAILED
from p2p_flock.cli.models.chain_log import open_log
from p2p_flock.cli.models.source import Home, chain_config
from p2p_flock.cli.models.verify import FAILED, VERIFIED, Findings, Folder, check_chain, check_files, check_names
from p2p_flock.cli.options import home_option, json_option, print_json
from p2p_flock.daemon.config_file import load_config
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import ConfigError, P2PFlockError, UsageError
from p2p_flock.learning.tensor_file import TensorPlace
from p2p_flock.types import AllianceId

STYLES = {VERIFIED: ("✓", "green"), FAILED: ("✗", "red")}


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--rpc-url", "rpc_urls", metavar="URL", multiple=True,
              help="An endpoint that you trust; two must agree [default: this node's].")  # fmt: skip
@click.option("--alliance", metavar="ID", help="Fail unless the model is of this alliance.")
@click.option("--from-start", is_flag=True, help="Compute the model from the task's initial one, sum by sum.")
@home_option
@json_option
def verify(
    directory: Path, rpc_urls: tuple[str, ...], alliance: str | None, from_start: bool, home: Path, as_json: bool
) -> int:
    """Recompute the digests of an exported model and check them against the chain.

    Says what was checked against what, and what cannot be. Exit code 0: the model is the alliance's; 1: it is not, or
    nothing on chain says so; 4: the chain cannot be reached.
    """
    findings = Findings()
    node = _node(home)
    folder = check_files(directory.expanduser().absolute(), findings, alliance)
    if folder is not None:
        check_names(folder, findings, lambda: _installed(node, folder))
        config = _chain_config(node, folder.alliance, rpc_urls)
        trio.run(_check_chain, folder, config, from_start, findings)
    if as_json:
        print_json(
            {
                "is_verified": findings.are_good,
                "alliance": None if folder is None else folder.provenance["alliance"],
                "round": None if folder is None else folder.provenance["model"]["round"],
                "findings": [{"result": kind, "text": _printable(text)} for kind, text in findings.told],
            }
        )
    else:
        _show(findings, folder, node)
    return 0 if findings.are_good else EXIT_FAILED


async def _check_chain(folder: Folder, config: ChainConfig, from_start: bool, findings: Findings) -> None:
    try:
        async with open_log(config, folder.alliance) as log:
            check_chain(folder, log, from_start, findings)
    except (UsageError, ConfigError) as error:  # no such chain, factory or alliance: what the folder names is not there
        findings.failed(f"{folder.alliance}: {error}")


def _node(home: Path) -> Home | None:
    """The node in ``home``, if there is one: its endpoints and its task help, and nobody needs a node to verify."""
    directory = DataDirectory(home)
    return Home(directory, load_config(directory.config, os.environ)) if directory.config.exists() else None


def _chain_config(node: Home | None, alliance: AllianceId, rpc_urls: Sequence[str]) -> ChainConfig:
    if not rpc_urls and (node is None or node.config.chain.chain_id != alliance.chain_id):
        raise UsageError(
            f"the model is of chain {alliance.chain_id}, and no endpoint of it is known\nname one: --rpc-url"
        )
    if node is not None and not rpc_urls:
        known = chain_config(node.config.chain)
        return ChainConfig(known.rpc_urls, alliance.chain_id, alliance.factory, timeout_s=known.timeout_s)
    return ChainConfig(tuple(rpc_urls), alliance.chain_id, alliance.factory)


def _installed(node: Home | None, folder: Folder) -> tuple[TensorPlace, ...] | None:
    """The tensors of the task as this node has it; ``None`` where it has another, or none."""
    if node is None or node.config.learning.task != folder.manifest.task:
        return None
    with suppress(P2PFlockError):
        document, places = trio.run(node.ask_worker)
        return places if document == folder.manifest.document else None
    return None


def _show(findings: Findings, folder: Folder | None, node: Home | None) -> None:
    for kind, text in findings.told:
        mark, colour = STYLES.get(kind, ("–", "yellow"))
        click.secho(f"{mark} {kind}: ", fg=colour, nl=False)
        click.echo(_printable(text))
    if not findings.are_good or folder is None:
        click.secho("NOT VERIFIED: do not use this model as the alliance's.", fg="red", bold=True)
        return
    model = folder.provenance["model"]
    click.secho(f"Verified: the model of {folder.alliance} after round {model['round']}.", fg="green", bold=True)
    known = None if node is None else node.config.chain.factory.lower()
    if known != f"0x{folder.alliance.factory.hex()}":
        click.echo(
            "Is that the alliance that you mean? Anybody can make one: compare the ID with what its members say."
        )


def _printable(text: str) -> str:
    """One line: a folder's texts are anybody's."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)
