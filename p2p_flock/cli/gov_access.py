"""How ``gov`` and ``lock`` reach the chain: settings and keystore of a node's home, no daemon.

Reading needs no password: the keystore names its address. Sending asks for it as ``p2p-flock node`` does.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click
import trio

from p2p_flock.chain.account import Account
from p2p_flock.chain.adapter import ChainConfig
from p2p_flock.chain.bidding import GWEI
from p2p_flock.chain.governance import Governance, open_governance
from p2p_flock.chain.keystore import read_keystore
from p2p_flock.cli.options import Command, home_option, json_option
from p2p_flock.cli.waiting import waiting
from p2p_flock.daemon.config_file import load_config
from p2p_flock.daemon.data_directory import DataDirectory, read_address
from p2p_flock.daemon.passwords import read_password
from p2p_flock.errors import ConfigError, UsageError

Found = TypeVar("Found")

_DURATION = re.compile(r"([0-9]{1,9})\s*(s|min|h|d|w)?")
_UNIT_SECONDS = {None: 1, "s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


def governance_options(command: Command) -> Command:
    """``--home``, ``--governor`` and ``--json``: what every command of the two groups takes."""
    governor = click.option("--governor", metavar="ADDRESS", help="The governor [default: governor under [chain]].")
    return home_option(governor(json_option(command)))


def password_option(command: Command) -> Command:
    """``--password-file``: for commands that sign."""
    return click.option(
        "--password-file", type=click.Path(dir_okay=False, path_type=Path), help="File (mode 0600) with the password."
    )(command)


def read_chain(home: Path, governor: str | None, work: Callable[[Governance], Awaitable[Found]]) -> Found:
    """Run ``work`` with the contracts as the home's account sees them; it cannot send.

    Raises:
        UsageError: settings or keystore are missing or wrong.
        ChainError: the chain failed.
    """
    config, where = _settings(home, governor)
    with waiting("the chain: the contracts are being read"):
        return _run(config, where, bytes.fromhex(read_address(DataDirectory(home))[2:]), work)


def sign_and_send(
    home: Path, governor: str | None, password_file: Path | None, work: Callable[[Governance], Awaitable[Found]]
) -> Found:
    """Run ``work`` with the account's key.

    Raises:
        UsageError: as :func:`read_chain`; PasswordError where the password is missing or wrong.
        ChainError: the chain failed or refused.
    """
    config, where = _settings(home, governor)
    password = read_password(password_file, os.environ, _prompt if sys.stdin.isatty() else None)
    account = read_keystore(DataDirectory(home).keystore, password)
    with waiting("the chain: the transaction gets into a block"):
        return _run(config, where, account, work)


def _settings(home: Path, governor: str | None) -> tuple[ChainConfig, bytes]:
    path = DataDirectory(home).config
    chain = load_config(path, os.environ).chain
    where = governor or chain.governor
    if where is None:
        raise ConfigError(
            "the governor's address is not known\n"
            f'pass --governor ADDRESS, or write governor = "0x…" under [chain] in {path}'
        )
    config = ChainConfig(
        rpc_urls=chain.rpc_urls,
        chain_id=chain.chain_id,
        factory=bytes.fromhex(chain.factory[2:]),
        poll_interval_s=chain.poll_interval_ms / 1000,
        timeout_s=chain.rpc_timeout_ms / 1000,
        fee_wei_max=chain.fee_gwei_max * GWEI,
    )
    return config, parse_address(where)


def _run(
    config: ChainConfig, governor: bytes, account: Account | bytes, work: Callable[[Governance], Awaitable[Found]]
) -> Found:
    async def opened() -> Found:
        async with open_governance(config, governor, account) as governance:
            return await work(governance)

    return trio.run(opened)


def _prompt() -> str:
    return str(click.prompt("Password of the keystore", hide_input=True, err=True))


def parse_address(text: str) -> bytes:
    """``0x`` and 40 hex digits as 20 bytes.

    Raises:
        UsageError: anything else.
    """
    if _ADDRESS.fullmatch(text.strip()) is None:
        raise UsageError(f"{text[:80]!r} is no address\nwrite 0x and 40 hex digits")
    return bytes.fromhex(text.strip()[2:])


def parse_duration(text: str) -> int:
    """``45s``, ``90min``, ``12h``, ``3d``, ``2w``; a bare number is seconds.

    Raises:
        UsageError: anything else.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{text[:80]!r} is no duration\nwrite it like 3d, 12h, 90min or 45s")
    return int(match[1]) * _UNIT_SECONDS[match[2]]
