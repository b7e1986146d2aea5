"""``p2p-flock support``: one file for whoever helps, without secrets, with a list of what it holds."""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_flock.cli.options import home_option
from p2p_flock.daemon.data_directory import DataDirectory
from p2p_flock.errors import UsageError

if TYPE_CHECKING:
    from p2p_flock.cli.supporting.gather import Gathered, Part
    from p2p_flock.cli.supporting.scrub import Scrubber
    from p2p_flock.daemon.observability import SecretsFilter

FOLDER = "p2p-flock-support"
LOG_MEGABYTES_DEFAULT, LOG_MEGABYTES_MAX = 8, 80
KEY_BYTES_MAX = 4096
CONFIG_BYTES_MAX = 1 << 20
MODE = 0o600


@click.group()
def support() -> None:
    """Get help without giving secrets away."""


@support.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@home_option
@click.option("--log-mb", type=click.IntRange(1, LOG_MEGABYTES_MAX), default=LOG_MEGABYTES_DEFAULT, show_default=True,
              help="How much of the log, megabytes.")  # fmt: skip
@click.option("--no-doctor", is_flag=True, help="Leave out what `p2p-flock doctor` finds; it takes up to 30 seconds.")
@click.option("--with-worker-log", is_flag=True, help="Also the training process's log: a task may print data there.")
@click.option(
    "--password-file", type=click.Path(dir_okay=False, path_type=Path),
    help="File (mode 0600) with the password: the account's key is then searched for, too.",
)  # fmt: skip
def bundle(
    file: Path, home: Path, log_mb: int, no_doctor: bool, with_worker_log: bool, password_file: Path | None
) -> None:
    """Write FILE (.tar.gz, mode 0600) with versions, settings, what the node says, and its log, all without secrets.

    What it holds and what it leaves out is listed first. Look into it before you send it: addresses and IDs of other
    members stand in it, and what a peer said in the log.
    """
    if file.exists():
        raise UsageError(f"{file} exists already\nname a new file; nothing is overwritten")
    if not home.is_dir():
        raise UsageError(f"there is no node in {home}\nname its folder with --home")
    from p2p_flock.cli.supporting.gather import gather  # noqa: PLC0415  start-up cost of other commands
    from p2p_flock.daemon.observability import SecretsFilter  # noqa: PLC0415

    secrets = SecretsFilter()
    scrubber = _know_secrets(DataDirectory(home), os.environ, password_file, secrets)
    found = gather(home, scrubber, secrets.clean, log_mb << 20, not no_doctor, with_worker_log, os.environ)
    index = _index(found)
    click.echo(index, nl=False)
    write_bundle(file, [*found.parts, _text("README.txt", index)])
    click.echo(f"\nWrote {file} ({file.stat().st_size:,} bytes). Look into it before you send it: tar -xzf {file}")


def _know_secrets(
    directory: DataDirectory, environment: Mapping[str, str], password_file: Path | None, secrets: SecretsFilter
) -> Scrubber:
    """All that must not stand in the bundle, as far as it can be known.

    Raises:
        UsageError: a key file cannot be read, so that nobody could look for it.
        PasswordError: the password file cannot be read, or opens no keystore.
    """
    from p2p_flock.cli.supporting.scrub import Scrubber, private_parts  # noqa: PLC0415  start-up cost of other commands
    from p2p_flock.daemon.passwords import PASSWORD_VARIABLE, read_password_file  # noqa: PLC0415

    scrubber = Scrubber()
    for path in (directory.identity_key, directory.secrets_key, directory.dashboard_token):
        try:
            with path.open("rb") as file:
                data = file.read(KEY_BYTES_MAX)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}\nrun the command as the node's user") from error
        scrubber.add(data)
        scrubber.add(data.strip())
    password = environment.get(PASSWORD_VARIABLE)
    if password_file is not None:
        password = read_password_file(password_file)
        from p2p_flock.chain.keystore import read_keystore  # noqa: PLC0415  seconds, by design

        scrubber.add(bytes(read_keystore(directory.keystore, password).key))
    if password:
        scrubber.add(password.encode())
        secrets.register(password)
    for url in _urls(directory, environment):
        for secret in private_parts(url):
            scrubber.add(secret.encode())
    return scrubber


def _urls(directory: DataDirectory, environment: Mapping[str, str]) -> list[str]:
    """Every URL in the settings' file and in the environment; also where the file cannot be parsed."""
    from p2p_flock.cli.supporting.scrub import find_urls  # noqa: PLC0415  start-up cost of other commands

    try:
        with directory.config.open("rb") as file:
            text = file.read(CONFIG_BYTES_MAX)
    except OSError:  # the bundle says so; every URL in it is cut down to its host all the same
        text = b""
    variables = "\n".join(value for name, value in environment.items() if name.startswith("P2P_FLOCK_"))
    return find_urls(text + b"\n" + variables.encode("utf-8", "replace"))


def _index(found: Gathered) -> str:
    lines = [f"Support bundle of p2p-flock, {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}", "", "It holds:"]
    lines += [f"  {part.name:<22}{len(part.data):>12,} bytes  {part.what}" for part in found.parts]
    lines += ["", "Left out:", *(f"  {text}" for text in found.left_out)]
    return "\n".join(lines) + "\n"


def _text(name: str, text: str) -> Part:
    from p2p_flock.cli.supporting.gather import Part  # noqa: PLC0415  start-up cost of other commands

    return Part(name, "this list", text.encode())


def write_bundle(path: Path, parts: list[Part]) -> None:
    """A new gzipped tar, mode 0600 from its first byte on.

    Raises:
        UsageError: it exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for part in parts:
                entry = tarfile.TarInfo(f"{FOLDER}/{part.name}")
                entry.size, entry.mode, entry.mtime = len(part.data), MODE, int(time.time())
                archive.addfile(entry, io.BytesIO(part.data))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}\nname another file, or make room") from error
