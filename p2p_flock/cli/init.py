"""``p2p-flock init``: make a node's data directory: settings, peer key, account, key of the round secrets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from p2p_flock.cli.options import home_option, json_option, print_json
from p2p_flock.daemon.data_directory import DataDirectory, create_identity, read_address, read_peer_id
from p2p_flock.errors import P2PFlockError, UsageError
from p2p_flock.store.files import make_private_folder, write_new
from p2p_flock.types import AllianceId


@click.command()
@home_option
@click.option("--alliance", metavar="ID", help="Alliance you mean to join; stands for --chain-id and --factory.")
@click.option("--rpc-url", "rpc_urls", multiple=True, required=True, help="RPC endpoint; give two independent ones.")
@click.option("--chain-id", type=click.IntRange(min=1), help="The chain's number.")
@click.option("--factory", help="Address of the alliance factory.")
@click.option("--from-block", type=click.IntRange(min=0), help="Block in which the factory was deployed.")
@click.option("--beacon-url", "beacon_urls", multiple=True, help="drand relay; may be repeated.")
@click.option("--beacon-scheme", type=click.Choice(["quicknet", "devnet"]), help="[default: quicknet]")
@click.option("--bootstrap", multiple=True, metavar="MULTIADDR", help="Node to meet first; may be repeated.")
@click.option("--listen-host", help="Address to listen on [default: all].")
@click.option("--listen-port", type=click.IntRange(0, 65_535), help="TCP port for peers [default: 4101].")
@click.option("--announce", multiple=True, metavar="MULTIADDR", help="Address others reach this node at.")
@click.option("--task", help="Installed task to train, for example heart.")
@click.option("--data-path", type=click.Path(path_type=Path), help="The private data; it never leaves this machine.")
@click.option("--data-seed", type=click.IntRange(min=0), help="Decides the split into train and private test.")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting, in TOML.")
@click.option(
    "--password-file", type=click.Path(dir_okay=False, path_type=Path), help="File (mode 0600) with the password."
)
@click.option(
    "--generate-password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw a password and write it to this new file.",
)
@click.option("--light-keystore", is_flag=True, help="Weak, fast key derivation: for tests and testnets only.")
@json_option
def init(home: Path, as_json: bool, **options: object) -> None:
    """Make a new node: writes config.toml and fresh keys into --home; never overwrites one.

    The password encrypts the account's key. It comes from --password-file, --generate-password-file, the variable
    P2P_FLOCK_PASSWORD, or a prompt; it is never an argument.
    """
    directory = DataDirectory(home)
    _refuse_existing(directory)
    text = _config_text(directory, options)
    make_private_folder(home)
    password = _password(options)
    try:
        create_identity(directory.identity_key)
        _create_keys(directory, password, bool(options["light_keystore"]))
        write_new(directory.config, text.encode())  # last: a folder with settings is a complete node
    except (P2PFlockError, KeyboardInterrupt):
        made = [directory.identity_key, directory.keystore, directory.secrets_key]  # just now, see _refuse_existing
        if isinstance(options["generate_password_file"], Path):
            made.append(options["generate_password_file"])
        for path in made:
            path.unlink(missing_ok=True)
        raise
    result = {"home": str(home), "peer_id": read_peer_id(directory), "address": read_address(directory)}
    if as_json:
        print_json(result)
        return
    click.echo(f"Made a node in {home}")
    click.echo(f"  peer ID  {result['peer_id']}")
    click.echo(f"  address  {result['address']}")
    click.echo("Next: send the address ETH for gas and FLOCK for the stake, then run")
    click.echo(f"  p2p-flock node --home {home}")
    click.echo("Back up identity.key, keystore.json and the password. Leave secrets.key out of backups: it guards")
    click.echo("round secrets that must be forgotten.")


def _refuse_existing(directory: DataDirectory) -> None:
    for path in (directory.config, directory.identity_key, directory.keystore, directory.secrets_key):
        if path.exists():
            raise UsageError(
                f"{directory.home} holds a node already ({path.name} is there)\n"
                "use it, or name another folder with --home; init never overwrites keys"
            )


def _config_text(directory: DataDirectory, options: dict[str, object]) -> str:
    """The settings file, checked as the daemon will check it.

    Raises:
        UsageError: options contradict each other or lack something; ConfigError where a value is wrong.
    """
    from p2p_flock.daemon.config_file import parse_config  # noqa: PLC0415  start-up cost of other commands
    from p2p_flock.daemon.config_template import render_config  # noqa: PLC0415

    chain_id, factory = options["chain_id"], options["factory"]
    if options["alliance"] is not None:
        alliance = AllianceId.parse(str(options["alliance"]))
        if chain_id not in (None, alliance.chain_id) or factory is not None:
            raise UsageError("--alliance stands for --chain-id and --factory\ngive the one or the others")
        chain_id, factory = alliance.chain_id, f"0x{alliance.factory.hex()}"
    if chain_id is None or factory is None:
        raise UsageError("the chain is not named\npass --alliance ID, or --chain-id and --factory")
    data_path = options["data_path"]
    values: dict[tuple[str, str], object] = {
        ("chain", "rpc_urls"): options["rpc_urls"],
        ("chain", "chain_id"): chain_id,
        ("chain", "factory"): factory,
        ("chain", "from_block"): options["from_block"],
        ("chain", "beacon_urls"): options["beacon_urls"] or None,
        ("chain", "beacon_scheme"): options["beacon_scheme"],
        ("net", "bootstrap"): options["bootstrap"] or None,
        ("net", "listen_host"): options["listen_host"],
        ("net", "listen_port"): options["listen_port"],
        ("net", "announce"): options["announce"] or None,
        ("learning", "task"): options["task"],
        ("learning", "data_path"): data_path.expanduser().absolute() if isinstance(data_path, Path) else None,
        ("learning", "data_seed"): options["data_seed"],
    }
    settings = options["settings"]
    assert isinstance(settings, tuple)
    for setting in settings:
        section, key, value = _parse_setting(setting)
        values[section, key] = value
    text = render_config(values)
    parse_config(text, directory.config, os.environ)
    return text


def _parse_setting(setting: str) -> tuple[str, str, object]:
    import tomllib  # noqa: PLC0415  start-up cost of other commands
    from dataclasses import fields  # noqa: PLC0415

    from p2p_flock.daemon.config import SECTIONS  # noqa: PLC0415

    name, equals, text = setting.partition("=")
    section, dot, key = name.strip().partition(".")
    if (
        not equals
        or not dot
        or section not in SECTIONS
        or key not in [field.name for field in fields(SECTIONS[section])]
    ):
        raise UsageError(
            f"--set {setting!r} names no setting\nwrite SECTION.KEY=VALUE; see `p2p-flock config template`"
        )
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # text without quotes, which a shell would eat
    return section, key, value


def _password(options: dict[str, object]) -> str:
    from p2p_flock.daemon.passwords import (  # noqa: PLC0415  start-up cost of other commands
        create_password_file,
        read_password,
        validate_new_password,
    )

    given, generated = options["password_file"], options["generate_password_file"]
    if generated is not None:
        if given is not None:
            raise UsageError("--password-file and --generate-password-file exclude each other\npass one of them")
        assert isinstance(generated, Path)
        return create_password_file(generated)
    assert given is None or isinstance(given, Path)
    password = read_password(given, os.environ, _prompt if sys.stdin.isatty() else None)
    validate_new_password(password)
    return password


def _prompt() -> str:
    return str(click.prompt("Password for the new account", hide_input=True, confirmation_prompt=True, err=True))


def _create_keys(directory: DataDirectory, password: str, light: bool) -> None:
    from p2p_flock.chain.keystore import create_account, write_keystore  # noqa: PLC0415  loads coincurve
    from p2p_flock.store.secrets import create_secrets_key  # noqa: PLC0415  loads libsodium

    write_keystore(directory.keystore, create_account(), password, light=light)
    create_secrets_key(directory.secrets_key)
