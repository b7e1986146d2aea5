"""Command line of the testnet: ``scripts/testnet``, which sets up and then calls ``python -m p2p_flock.testnet``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from p2p_flock.errors import P2PFlockError
from p2p_flock.params import RINGS
from p2p_flock.testnet.byzantine import parse_band
from p2p_flock.testnet.data import DEMOS, partition_texts
from p2p_flock.testnet.faults.grammar import CutBy, parse_fault
from p2p_flock.testnet.faults.namespaces import remove_namespaces
from p2p_flock.testnet.invite import invite
from p2p_flock.testnet.launcher import run
from p2p_flock.testnet.options import NODES_MAX, NODES_MIN, ROUNDS_UNTIL_STOPPED, Options, private_task
from p2p_flock.testnet.place import LOOPBACK
from p2p_flock.testnet.processes import stop_directory

TEST_MODES = ("save_encodings", "record_sent", "disable_masks")


def parse_arguments(arguments: Sequence[str]) -> Options:
    """The options; argparse ends the process with 2 where they make no sense.

    Raises:
        UsageError: a fault or a dishonesty that cannot be understood.
    """
    parser = argparse.ArgumentParser(
        prog="scripts/testnet",
        description="Runs a whole network on this machine: local chain, bootstrap node, nodes, one alliance.",
        epilog="`scripts/testnet stop DIR` ends what a killed launcher left running in DIR; "
        "`scripts/testnet invite DIR` makes a further member for a network that runs there (see its --help).",
    )
    parser.add_argument("--nodes", type=int, default=8, help=f"members, {NODES_MIN} to {NODES_MAX} [8]")
    parser.add_argument("--spare-seats", type=int, default=0, help="for members that join while it runs [0]")
    parser.add_argument(
        "--listen-host", default=LOOPBACK, metavar="ADDRESS",
        help="this machine's address that nodes listen on, for members on other machines [127.0.0.1]",
    )  # fmt: skip
    parser.add_argument("--cohorts", type=int, default=1, help="that the trainers are drawn into [1]")
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=int, default=10, help="training rounds; one more collects statistics [10]")
    rounds.add_argument(
        "--until-stopped",
        action="store_true",
        help=f"go on until Ctrl-C, which is success then; at most {ROUNDS_UNTIL_STOPPED} rounds",
    )
    parser.add_argument("--task", default="heart", help=f"what is trained: {', '.join(DEMOS)}, or yours [heart]")
    parser.add_argument("--partition", help=f"who holds what; {'; '.join(partition_texts())} [the first]")
    parser.add_argument("--data", type=Path, help="for a task of yours: a folder with one data file per member")
    parser.add_argument(
        "--privacy", type=float, metavar="EPSILON", help="every trainer adds noise: this ε at δ 1e-5 over all rounds"
    )
    rings = ", ".join(map(str, RINGS))
    parser.add_argument("--lane-bits", type=int, default=32, help=f"ring that updates are added in: {rings} [32]")
    parser.add_argument("--seed", type=int, default=1, help="of the data's partition and split [1]")
    _add_measuring(parser)
    parser.add_argument(
        "--void-count-max", type=int, metavar="N", help="void rounds in a row that close the alliance [10]"
    )
    _add_trouble(parser)
    given = parser.parse_args(arguments)
    modes = frozenset(filter(None, given.test_mode.split(",")))
    if not modes <= set(TEST_MODES):
        parser.error(f"--test-mode knows {', '.join(TEST_MODES)}")
    rounds_wanted = ROUNDS_UNTIL_STOPPED if given.until_stopped else given.rounds
    return Options(
        nodes=given.nodes,
        rounds=rounds_wanted,
        until_stopped=given.until_stopped,
        listen_host=given.listen_host,
        spare_seats=given.spare_seats,
        lane_bits=given.lane_bits,
        cohorts=given.cohorts,
        task=given.task if given.privacy is None else private_task(given.task, given.privacy, rounds_wanted),
        partition=given.partition,
        data=given.data,
        seed=given.seed,
        report=given.report,
        void_count_max=given.void_count_max,
        references=not given.no_references,
        local_only=not given.no_local_only,
        keep=given.keep,
        block_time=given.block_time,
        directory=given.directory,
        test_mode=modes,
        faults=tuple(map(parse_fault, given.fault)),
        byzantine=tuple(map(parse_band, given.byzantine)),
        cut_by=CutBy(given.cut_by),
    )


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    """What is measured beside the rounds, what of it stays, and where."""
    parser.add_argument("--report", type=Path, help="JSON report [testnet-report.json here]")
    parser.add_argument(
        "--no-references",
        action="store_true",
        help="compute no scores to compare with at the end (pooled, alone, plain FedAvg)",
    )
    parser.add_argument(
        "--no-local-only", action="store_true", help="no node trains a model of its own to compare with"
    )
    parser.add_argument("--keep", action="store_true", help="keep the run's directory after a success")
    parser.add_argument("--block-time", type=float, default=0.2, help="seconds between blocks [0.2]")
    parser.add_argument("--directory", type=Path, help="where the run writes; new or empty [a temporary one]")
    parser.add_argument(
        "--test-mode", default="", help=f"for tests, comma-separated: {', '.join(TEST_MODES)}; gives away private data"
    )


def _add_trouble(parser: argparse.ArgumentParser) -> None:
    """What befalls the network, and who cheats in it."""
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="strikes once, may be repeated (see FAULTS.md): kill:leader@SEAL, restart:2 trainers@UNMASK,5s, "
        "freeze:half@TRAIN#3,10s, partition:3/5@TRAIN,20s, rpc-down:validator,15s, chain-down,60s, reorg:3@SETTLE, "
        "clock:+5s,node3, bootstrap-down",
    )
    parser.add_argument(
        "--cut-by",
        choices=[each.value for each in CutBy],
        default=CutBy.AUTO.value,
        help="what partitions the network: namespaces need root; the fault port is in the nodes, in test mode [auto]",
    )
    parser.add_argument(
        "--byzantine",
        action="append",
        default=[],
        metavar="KIND:COUNT",
        help="so many dishonest nodes, drawn by the seed; may be repeated: signflip:2, bad-share, colluder:3; "
        "an unknown kind lists all",
    )


def stop(arguments: Sequence[str]) -> int:
    """``stop DIR``: end the processes of a run, and remove its network namespaces where it had any."""
    parser = argparse.ArgumentParser(prog="scripts/testnet stop")
    parser.add_argument("directory", type=Path)
    given = parser.parse_args(arguments)
    stopped = stop_directory(given.directory)
    removed = remove_namespaces(given.directory)
    namespaces = f", removed {len(removed)} network namespaces" if removed else ""
    sys.stdout.write(f"ended {len(stopped)} processes of {given.directory}{namespaces}\n")
    return 0


def main() -> int:
    """Exit code: 0 success, 1 a failed run, 2 a wrong command line, 130 interrupted."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["stop"]:
            return stop(arguments[1:])
        if arguments[:1] == ["invite"]:
            return invite(arguments[1:])
        return run(parse_arguments(arguments))
    except P2PFlockError as error:
        sys.stderr.write(f"scripts/testnet: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
