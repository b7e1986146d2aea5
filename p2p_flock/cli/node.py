"""``p2p-flock node``: run the daemon in the foreground."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_flock.cli.options import home_option
from p2p_flock.daemon.data_directory import DataDirectory, lock_data_directory, require_initialised

if TYPE_CHECKING:
    from p2p_flock.daemon.config import NodeConfig
    from p2p_flock.daemon.taking_part import MakeMachine

    Prepare = Callable[[NodeConfig], tuple[NodeConfig, MakeMachine]]

logger = logging.getLogger(__name__)


@click.command()
@home_option
@click.option(
    "--password-file", type=click.Path(dir_okay=False, path_type=Path), help="File (mode 0600) with the password."
)
@click.option("--exit-when-closed", is_flag=True, help="End once the alliance is closed and the last model is held.")
@click.pass_obj  # of main(): nothing, but for a testnet's dishonest members
def node(prepare: Prepare | None, home: Path, password_file: Path | None, exit_when_closed: bool) -> int:
    """Run the node until it is stopped (Ctrl-C, SIGTERM or `p2p-flock stop`).

    The keystore's password comes from --password-file, the variable P2P_FLOCK_PASSWORD, or a prompt.
    """
    # Here, so that --help and a wrong setting answer at once.
    from p2p_flock.daemon.config_file import load_config  # noqa: PLC0415
    from p2p_flock.daemon.observability import configure_logging, process_secrets  # noqa: PLC0415
    from p2p_flock.daemon.passwords import read_password  # noqa: PLC0415

    directory = DataDirectory(home)
    require_initialised(directory)
    config = load_config(directory.config, os.environ)
    if exit_when_closed:
        config = dataclasses.replace(config, node=dataclasses.replace(config.node, exit_when_closed=True))
    with lock_data_directory(directory):
        password = read_password(password_file, os.environ, _prompt if sys.stdin.isatty() else None)
        # The heavy imports: a second and a half for libp2p and numpy. Before logging: libp2p configures its own.
        from p2p_flock.cli.checks.installation import find_learning_problems  # noqa: PLC0415
        from p2p_flock.daemon.node import run_node  # noqa: PLC0415
        from p2p_flock.daemon.taking_part import make_honest_machine  # noqa: PLC0415

        process_secrets.register(password)
        for url in config.chain.rpc_urls:
            process_secrets.register_url(url)
        configure_logging(config.node.log_format, config.node.log_level, process_secrets, directory.logs)
        for problem in find_learning_problems(config.learning):
            logger.warning(problem)
        config, make_machine = (config, make_honest_machine) if prepare is None else prepare(config)
        return run_node(config, home, password, make_machine)


def _prompt() -> str:
    return str(click.prompt("Password of the keystore", hide_input=True, err=True))
