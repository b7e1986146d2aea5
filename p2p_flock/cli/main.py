"""The command ``p2p-flock``: one file per command.

All but ``init``, ``config``, ``node``, ``lock`` and ``gov`` ask the daemon.

Imports only what parsing takes. A command imports the rest when it runs, so that none loads web3, libp2p or torch in
vain (a test looks).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from p2p_flock import __version__
from p2p_flock.cli.alliance import alliance
from p2p_flock.cli.alliance_watch import watch
from p2p_flock.cli.completion import completion
from p2p_flock.cli.config import config
from p2p_flock.cli.dashboard import dashboard
from p2p_flock.cli.doctor import doctor
from p2p_flock.cli.failures import EXIT_CODES_TEXT, EXIT_INTERRUPTED, show_failure, show_wrong_usage
from p2p_flock.cli.gov import gov
from p2p_flock.cli.history import history
from p2p_flock.cli.init import init
from p2p_flock.cli.lock import lock
from p2p_flock.cli.log import log
from p2p_flock.cli.model import model
from p2p_flock.cli.node import node
from p2p_flock.cli.status import status
from p2p_flock.cli.stop import stop
from p2p_flock.cli.support import support
from p2p_flock.cli.task import task
from p2p_flock.cli.wallet import wallet
from p2p_flock.errors import LocalProtocolError, P2PFlockError

if TYPE_CHECKING:
    from p2p_flock.cli.node import Prepare


PROGRAM = "p2p-flock"  # however it was started: messages name what can be typed


@click.group(PROGRAM, epilog=EXIT_CODES_TEXT, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def root() -> None:
    """Train one model together with other organisations, with no server in the middle.

    Start with `p2p-flock init`, run `p2p-flock node`, then `p2p-flock alliance join ID`.
    """


for command in (
    init,
    node,
    dashboard,
    alliance,
    watch,
    history,
    model,
    wallet,
    lock,
    gov,
    status,
    stop,
    task,
    config,
    log,
    doctor,
    support,
    completion,
):
    root.add_command(command)


def main(arguments: Sequence[str] | None = None, prepare: Prepare | None = None) -> int:
    """Run a command line (``sys.argv`` where ``None``) and return its exit code.

    Args:
        prepare: called by ``node`` with its settings before it runs; returns what it runs with instead. A testnet's
            dishonest members only (``testnet/crooked_node.py``).

    Raises:
        LocalProtocolError: our own defect, with its traceback.
    """
    words = None if arguments is None else list(arguments)
    try:
        code = root.main(words, prog_name=PROGRAM, standalone_mode=False, obj=prepare)
    except click.ClickException as error:
        return show_wrong_usage(error, root)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `| head`: nobody reads on; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LocalProtocolError:
        raise
    except P2PFlockError as error:
        return show_failure(error)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
