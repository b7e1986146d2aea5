"""Are the node's files there, private, and its settings right? Does the password open the account?"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from p2p_flock.cli.checks.findings import Finding, broken, fine, skipped, warning
from p2p_flock.cli.checks.scene import Scene, in_thread
from p2p_flock.cli.failures import describe
from p2p_flock.daemon.data_directory import DataDirectory, load_identity, read_address, read_peer_id
from p2p_flock.errors import P2PFlockError, PasswordError

SECRETS_KEY_BYTES = 32


async def check_home(scene: Scene) -> list[Finding]:
    """The folder and the files that ``init`` wrote."""
    directory = scene.directory
    home = directory.home
    if not home.is_dir():
        return [broken(f"{home} is not there", f"make a node: `p2p-flock init --home {home}`, or name its folder")]
    missing = [path.name for path in _init_files(directory) if not path.exists()]
    if len(missing) == len(_init_files(directory)):
        return [broken(f"{home} holds no node", f"make one: `p2p-flock init --home {home}`, or name its folder")]
    found = [
        broken(f"{name} is missing in {home}", "restore it from a backup, or make a new node with `p2p-flock init`")
        for name in missing
    ]
    found += _find_wrong_modes(directory)
    if not os.access(home, os.W_OK | os.X_OK):
        found.append(broken(f"{home} cannot be written by this user", f"run as its owner, or `chmod u+rwx {home}`"))
    try:
        if directory.identity_key.exists() and not directory.identity_key.stat().st_mode & 0o077:
            load_identity(directory.identity_key)
        if directory.secrets_key.exists() and directory.secrets_key.stat().st_size != SECRETS_KEY_BYTES:
            found.append(broken(f"{directory.secrets_key} is damaged", "make a new node; its round secrets are lost"))
    except P2PFlockError as error:
        found.append(broken(*describe(error)))
    if found:
        return found
    return [fine(f"{home}: all files are there and private; peer ID {read_peer_id(directory)}")]


def _init_files(directory: DataDirectory) -> tuple[Path, ...]:
    return directory.config, directory.identity_key, directory.keystore, directory.secrets_key


def _find_wrong_modes(directory: DataDirectory) -> list[Finding]:
    found = []
    for path in (directory.identity_key, directory.keystore, directory.secrets_key):
        if path.exists() and path.stat().st_mode & 0o077:
            mode = stat.S_IMODE(path.stat().st_mode)
            found.append(
                broken(
                    f"{path} can be read by other users (mode {mode:04o})",
                    f"run `chmod 600 {path}` and find out who read it",
                )
            )
    if directory.home.stat().st_mode & 0o022:
        found.append(
            broken(f"{directory.home} can be written by other users", f"run `chmod 700 {directory.home}`"),
        )
    elif directory.home.stat().st_mode & 0o055:
        found.append(
            warning(f"{directory.home} can be looked into by other users", f"run `chmod 700 {directory.home}`")
        )
    return found


async def check_settings(scene: Scene) -> list[Finding]:
    """config.toml, as the node will read it."""
    if scene.config_error is not None:
        return [broken(*describe(scene.config_error))]
    return [fine(f"{scene.directory.config.name} is in order")]


async def check_password(scene: Scene) -> list[Finding]:
    """The keystore, opened as ``p2p-flock node`` does."""
    if not scene.directory.keystore.exists():
        return [skipped("there is no keystore")]
    try:
        address = read_address(scene.directory)
    except P2PFlockError as error:
        return [broken(*describe(error))]
    if scene.password_error is not None:
        what, remedy = describe(scene.password_error)
        return [broken(what, remedy + "; or pass --no-password to leave this out")]
    if scene.password is None:
        return [skipped(f"account {address}; the password was not tried")]
    password = scene.password

    def open_account() -> None:
        from p2p_flock.chain.keystore import read_keystore  # noqa: PLC0415  only here

        read_keystore(scene.directory.keystore, password)

    try:
        await in_thread(open_account)
    except PasswordError as error:
        return [broken(*describe(error))]
    return [fine(f"it opens the account {address}")]


async def check_node(scene: Scene) -> list[Finding]:
    """Does a node run here, and what does it say of itself?"""
    status = scene.status
    if status is not None:
        alliance = status["alliance"] or "no alliance yet"
        found = [fine(f"running (process {scene.holder}), {status['connected_peers']} peers connected, {alliance}")]
        for text in status["warnings"]:
            what, _, remedy = text.partition(": ")
            found.append(warning(what, remedy or "see `p2p-flock status`"))
        return found
    home = scene.directory.home
    if scene.holder is not None:
        what = "it does not answer" if scene.status_error is None else describe(scene.status_error)[0]
        return [
            broken(
                f"process {scene.holder} holds {home}, but {what}",
                f"it may be starting or stuck: see {home / 'logs' / 'node.log'}, then start it again",
            )
        ]
    if not scene.directory.config.exists():
        return [skipped("there is no node to run")]
    return [fine(f"none runs; start it with `p2p-flock node --home {home}`")]
