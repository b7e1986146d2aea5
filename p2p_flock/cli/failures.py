"""What a failed command prints and returns: two lines and a documented exit code, never a traceback.

Called by ``cli/main.py``. An exception that is not one of ours is a defect and does show its traceback.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator

import click

from p2p_flock import errors
from p2p_flock.errors import (
    ChainError,
    CommandRefusedError,
    ConfigError,
    DataSchemaError,
    NetError,
    NoDaemonError,
    P2PFlockError,
    ParameterError,
    StoreError,
    TaskError,
    TransactionFailedError,
    UsageError,
    WorkerCrashedError,
    WorkerTimeoutError,
)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NO_DAEMON = 3
EXIT_CHAIN = 4
EXIT_DECLINED = 5
EXIT_INTERRUPTED = 130

EXIT_CODES_TEXT = (
    "Exit codes: 0 done; 1 failed; 2 wrong usage, setting or password; 3 no daemon runs; "
    "4 the chain refused or cannot be reached; 5 you declined; 130 interrupted."
)

# For errors whose text names no remedy. The first class that matches counts.
_REMEDIES: tuple[tuple[type[P2PFlockError], str], ...] = (
    (TransactionFailedError, "look at `p2p-flock alliance show ID` and `p2p-flock wallet`, then try again"),
    (ChainError, "check rpc_urls and chain_id under [chain] in config.toml, and the endpoint itself"),
    (ConfigError, "correct config.toml; `p2p-flock doctor` looks at all of it"),
    (NetError, "check [net] in config.toml, the firewall, and that the bootstrap nodes run"),
    (StoreError, "check free space and permissions of the data directory"),
    (WorkerCrashedError, "see logs/node.log; the worker is started again"),
    (WorkerTimeoutError, "see logs/node.log; the machine may be too slow for the alliance's deadlines"),
    (DataSchemaError, "correct the file: `p2p-flock task check` lists every place"),
    (TaskError, "install the task's package in the environment of the daemon"),
    (P2PFlockError, "see what `p2p-flock doctor` finds, and logs/node.log in the data directory"),
)

# The contract's error names (contracts/src/interfaces), for what an operator can do something about.
_CONTRACT_REMEDIES = {
    "ERC20InsufficientBalance": "the account holds too little FLOCK: see `p2p-flock wallet`, and send it more",
    "ERC20InsufficientAllowance": "the allowance was used up meanwhile: try again",
    "AlreadySeated": "this account holds a seat already: see `p2p-flock status`",
    "NoSeatFree": "all seats are taken: wait until one leaves, or join another alliance",
    "NotOnAllowlist": "only those on the creator's list may join: ask it for one that lists this account",
    "JoinDeadlinePassed": "nobody joins it any more: find another with `p2p-flock alliance list`",
    "WrongAllowlist": "make the alliance again from the list itself: `p2p-flock alliance create --allowlist FILE`",
    "WrongRecord": "a reorganisation changed that round, or an endpoint lies: try again, or use another endpoint",
    "AllianceIsClosed": "the alliance has ended: see `p2p-flock alliance list`",
    "StakeNotWithdrawn": "withdraw the former stake first: `p2p-flock alliance withdraw ID`",
    "NotSeated": "this account holds no seat there: see `p2p-flock status`",
    "AlreadyLeaving": "the seat is leaving already; withdraw later with `p2p-flock alliance withdraw ID`",
    "StillSeated": "the seat is freed when the next round opens: try again then",
    "Unbonding": "the stake is still unbonding: `p2p-flock alliance withdraw ID` works once that has passed",
    "SeatIsSuspected": "its cohorts were rejected too often: `p2p-flock alliance withdraw ID`, then join anew",
    "SuspicionIsOff": "this alliance suspends nobody for rejected cohorts: see `p2p-flock alliance show ID`",
    "NotSuspected": "its cohorts were not rejected so often in a row: wait for more rounds",
    "RoundBeforeTenure": "that round was before the member joined: only rounds since then count",
    "NotSuspended": "the seat is not suspended: see `p2p-flock status`",
    "NothingToWithdraw": "the stake was withdrawn before",
    "NothingToClaim": "rewards come when rounds settle: see `p2p-flock status`",
    "StakeAboveMaximumLoss": "the stake is above the maximum loss: look at `p2p-flock alliance show ID` again",
    "WrongParameters": "the alliance's parameters are not the ones shown: your RPC endpoint may lie; try another",
    "ParameterOutOfBounds": "the parameters break a rule of the contract: `alliance create --dry-run` shows them",
    "WrongTaskName": "a task name has 1 to 64 bytes",
    "StillLocked": "its time is not over: see `p2p-flock lock list`",
    "NotYourLock": "the lock is another account's, or unlocked already: see `p2p-flock lock list`",
    "GovernorUnexpectedProposalState": "the proposal has moved on meanwhile: see `p2p-flock gov show ID`",
    "GovernorAlreadyCastVote": "a vote is final: see `p2p-flock gov show ID`",
    "GovernorInsufficientProposerVotes": "lock more with `p2p-flock lock create`, or have others delegate to you",
    "TimelockUnexpectedOperationState": "the timelock's delay is not over: see `p2p-flock gov show ID`",
    "NothingAccrued": "somebody minted just now: see `p2p-flock gov emission`",
    "insufficient funds": "the account holds too little ETH for gas: see `p2p-flock wallet`, and send it more",
}


def error_class(kind: str) -> type[P2PFlockError]:
    """The class of ``errors.py`` that the daemon named; the root where there is none of that name."""
    found = getattr(errors, kind, None)
    return found if inspect.isclass(found) and issubclass(found, P2PFlockError) else P2PFlockError


def exit_code_of(error: P2PFlockError) -> int:
    """The documented exit code for an error."""
    if isinstance(error, NoDaemonError):
        return EXIT_NO_DAEMON
    kind = error_class(error.kind) if isinstance(error, CommandRefusedError) else type(error)
    if issubclass(kind, ChainError):
        return EXIT_CHAIN
    if issubclass(kind, errors.ControlError):
        return EXIT_FAILED
    return EXIT_USAGE if issubclass(kind, (UsageError, ParameterError)) else EXIT_FAILED


def describe(error: P2PFlockError) -> tuple[str, str]:
    """(what is wrong, what to do), each one line.

    The remedy is what follows the first line or the first sentence of the error's text; else the one for its class.
    """
    kind = error_class(error.kind) if isinstance(error, CommandRefusedError) else type(error)
    text = str(error).strip() or kind.__name__
    what, found, remedy = text.partition("\n")
    if not found:
        what, _, remedy = text.partition(". ")
    if issubclass(kind, ChainError):
        for name, advice in _CONTRACT_REMEDIES.items():
            if name in text:
                remedy = advice
    if not remedy.strip():
        remedy = next(advice for known, advice in _REMEDIES if issubclass(kind, known))
    return _one_line(what).rstrip("."), _one_line(remedy)


def show_failure(error: P2PFlockError) -> int:
    """Print the two lines to standard error and return the exit code."""
    _show_two_lines(*describe(error))
    return exit_code_of(error)


def _show_two_lines(what: str, remedy: str) -> None:
    click.secho("error: ", fg="red", bold=True, err=True, nl=False)
    click.echo(what, err=True)
    click.secho("   do: ", bold=True, err=True, nl=False)
    click.echo(remedy, err=True)


def show_wrong_usage(error: click.ClickException, root: click.Group) -> int:
    """The same two lines for a command line that cannot be parsed; returns the exit code."""
    context = getattr(error, "ctx", None)
    if context is None or error.message == context.get_help():  # no words at all: the help is the answer
        error.show()
        return error.exit_code
    path = context.command_path
    remedy = f"see `{path} --help`"
    unknown = re.search("No such command '(.+?)'", error.message)
    if unknown is not None and isinstance(context.command, click.Group):
        near = _find_command(root, path, unknown[1])
        listed = ", ".join(context.command.list_commands(context))
        remedy = f"did you mean `{near}`? {remedy}" if near else f"here are {listed}; {remedy}"
    what = error.format_message() if unknown is None else unknown[0]
    _show_two_lines(_one_line(what).rstrip("."), remedy)
    return error.exit_code


def _find_command(root: click.Group, path: str, name: str) -> str | None:
    """The command that was meant: of this name in another group, else the one in this group that is written alike."""
    places = list(_walk(root, root.name or "p2p-flock"))
    for place in places:
        if place.rpartition(" ")[2] == name:
            return place
    here = [place.rpartition(" ")[2] for place in places if place.rpartition(" ")[0] == path]
    near = difflib.get_close_matches(name, here, n=1)
    return f"{path} {near[0]}" if near else None


def _walk(group: click.Group, path: str) -> Iterator[str]:
    """Every command with its groups, shallow ones first; imports no lazy one."""
    context = click.Context(group)
    names = group.list_commands(context)
    yield from (f"{path} {name}" for name in names)
    for name in names:
        command = group.commands.get(name)
        if isinstance(command, click.Group):
            yield from _walk(command, f"{path} {name}")


def _one_line(text: str) -> str:
    """One printable line: the text of an error may be a contract's, that is, anybody's."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)
