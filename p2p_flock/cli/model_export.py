"""``p2p-flock model export DIR``: named tensors, a model card, and what it takes to check them."""

from __future__ import annotations

import os
from pathlib import Path

import click
import trio

from p2p_flock.cli.models.chain_log import open_log
from p2p_flock.cli.models.export import Exported, export_model
from p2p_flock.cli.models.provenance import CARD_NAME, MODEL_NAME, PROVENANCE_NAME, REPLAY_FOLDER
from p2p_flock.cli.models.source import Home, chain_config
from p2p_flock.cli.options import home_option, json_option, print_json
from p2p_flock.daemon.config_file import load_config
from p2p_flock.daemon.data_directory import DataDirectory, require_initialised


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@home_option
@click.option("--round", "number", metavar="N", type=click.IntRange(0, 2**32 - 1),
              help="The model after this round [default: the newest that this node holds].")  # fmt: skip
@click.option("--alliance", metavar="ID", help="[default: the one this node is in, or was in last]")
@click.option("--from-start", is_flag=True,
              help="Add all sums since the first round, where this node still holds them.")  # fmt: skip
@json_option
def export(
    directory: Path, home: Path, number: int | None, alliance: str | None, from_start: bool, as_json: bool
) -> None:
    """Write the model to DIR, new or empty: model.safetensors, README.md and provenance.json.

    Reads this node's files and asks the chain; the daemon may run or not. The tensors hold the alliance's exact values;
    your scores on your private test data are told in README.md, if this node keeps any.
    """
    require_initialised(DataDirectory(home))
    place = Home(DataDirectory(home), load_config(DataDirectory(home).config, os.environ))
    named = place.find_alliance(alliance)
    folder = directory.expanduser().absolute()

    def tell(what: str) -> None:
        click.echo(f"{what} …", err=True)

    async def run() -> Exported:
        tell("reading the alliance's log from the chain")
        async with open_log(chain_config(place.config.chain), named, place.open_archive) as log:
            return await export_model(place, log, folder, number, from_start, tell)

    exported = trio.run(run)
    provenance = exported.provenance
    if as_json:
        print_json(provenance)
        return
    click.echo(f"Wrote the model of {provenance['alliance']} after round {provenance['model']['round']} to {folder}:")
    more = sum(name.startswith(REPLAY_FOLDER) for name in provenance["files"])
    click.echo(
        f"  {MODEL_NAME}, {CARD_NAME}, {PROVENANCE_NAME}" + (f", {more} files in {REPLAY_FOLDER}/" if more else "")
    )
    click.echo(f"  digest {provenance['model']['digest']}: {exported.confirmation}")
    if not exported.is_checkable:
        click.secho("  Nobody can check it before the next round settles: export it again then.", fg="yellow")
    click.echo(f"Check it: p2p-flock model verify {directory}")
