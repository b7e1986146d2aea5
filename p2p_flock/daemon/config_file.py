"""Reads ``config.toml`` and the environment into a :class:`NodeConfig`, strictly.

Called by ``cli/``. An unknown key is an error, never ignored: a mistyped ``confirmations`` would otherwise run with
another number than its operator believes. ``tomllib`` reports no line numbers, so a small scan finds them.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from p2p_flock.daemon.config import DEVNET_CHAIN_IDS, SECTIONS, TEST_MODE_VARIABLE, NodeConfig
from p2p_flock.daemon.data_directory import HOME_VARIABLE
from p2p_flock.daemon.passwords import PASSWORD_VARIABLE
from p2p_flock.errors import ConfigError

CONFIG_BYTES_MAX = 1 << 20
VALUE_CHARACTERS_SHOWN_MAX = 120
VARIABLE_PREFIX = "P2P_FLOCK_"
_OTHER_VARIABLES = (HOME_VARIABLE, PASSWORD_VARIABLE, TEST_MODE_VARIABLE)
_HEADER = re.compile(r"\s*\[{1,2}([^\[\]]+)\]{1,2}\s*(#.*)?")
_ASSIGNMENT = re.compile(r"""([A-Za-z0-9_\-"'.\s]+)=""")
_EXAMPLES = {str: '"text"', int: "12", bool: "true", tuple: '["first", "second"]', Path: '"folder/file"'}
_HARM = dict.fromkeys(("clock_offset_ms", "fault_port_path"), "breaks this node")
_KIND_NAMES = {
    str: "text", int: "a whole number", bool: "true or false", tuple: "a list of texts", Path: "a path in quotes",
    float: "a number with a fraction", list: "a list", dict: "a table",
}  # fmt: skip


def load_config(path: Path, environment: Mapping[str, str]) -> NodeConfig:
    """Read the file, then let ``P2P_FLOCK_<SECTION>_<KEY>`` override single values.

    Raises:
        ConfigError: with file and line (or the variable's name), what is wrong, and what to write instead.
    """
    return parse_config(_read(path), path, environment)


def parse_config(text: str, path: Path, environment: Mapping[str, str]) -> NodeConfig:
    """As :func:`load_config`, on text that was read (or is about to be written) as ``path``.

    Raises:
        ConfigError: as above.
    """
    values: dict[tuple[str, str], object] = {}
    origins: dict[tuple[str, str], str] = {}
    for (section, key), value in _parse_file(text, path).items():
        values[section, key] = value
        origins[section, key] = f"{path}:{find_line(text, section, key)}"
    for section, key, variable in _variables(environment):
        hint = _plain_type(_hints(section)[key])
        values[section, key] = _parse_variable(environment[variable], hint, variable)
        origins[section, key] = f"environment variable {variable}"

    sections: dict[str, Any] = {}
    for section, kind in SECTIONS.items():
        arguments: dict[str, object] = {}
        for field in dataclasses.fields(kind):
            place = (section, field.name)
            if place in values:
                arguments[field.name] = _convert(values[place], field, section, origins[place], path.parent)
            elif field.default is dataclasses.MISSING:
                raise ConfigError(
                    f"{path}: [{section}] {field.name} is missing\n"
                    f"add it: it is {field.metadata['comment']} (`p2p-flock config template` shows all settings)"
                )
        sections[section] = kind(**arguments)
    config = NodeConfig(**sections)
    _check_together(config, path, origins, environment)
    return config


def find_line(text: str, section: str, key: str | None) -> int:
    """Line (from 1) on which ``key`` of ``section`` is assigned, or the section begins where ``key`` is ``None``.

    Understands headers, dotted keys and skips multi-line strings; 1 where it cannot tell.
    """
    current, inside_string, section_line = "", False, 1
    for number, line in enumerate(text.splitlines(), 1):
        was_inside = inside_string
        inside_string ^= (line.count('"""') + line.count("'''")) % 2 == 1
        if was_inside:
            continue
        if (header := _HEADER.fullmatch(line)) is not None:
            current = _bare(header[1])
            if current == section:
                section_line = number
                if key is None:
                    return number
        elif (assignment := _ASSIGNMENT.match(line)) is not None:
            name = ".".join(filter(None, (current, _bare(assignment[1]))))
            if key is not None and name == f"{section}.{key}".removeprefix("."):
                return number
            if name == section:  # an inline table
                section_line = number
    return section_line


def _bare(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}\nmake a node with `p2p-flock init`, or name its folder with --home"
        ) from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path} is longer than {CONFIG_BYTES_MAX} bytes\nname the right folder with --home")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})\nsave it as UTF-8") from error


def _parse_file(text: str, path: Path) -> dict[tuple[str, str], object]:
    """The file's values by (section, key), all of them known ones."""
    try:
        document = tomllib.loads(text)
    # ValueError: also a number of thousands of digits. RecursionError: lists in lists in lists.
    except (ValueError, RecursionError) as error:
        message = str(error)
        place = re.search(r"\(at line (\d+), column \d+\)", message)
        where = f"{path}:{place[1]}" if place else f"{path}:{len(text.splitlines())}"
        raise ConfigError(
            f"{where}: not valid TOML: {re.sub(r' *[(]at .*[)]', '', message)}\n"
            "write each setting as key = value, text in quotes; `p2p-flock config template` shows how"
        ) from error
    values: dict[tuple[str, str], object] = {}
    for section, table in document.items():
        if section not in SECTIONS:
            where = (
                f"{path}:{find_line(text, section, None) if isinstance(table, dict) else find_line(text, '', section)}"
            )
            raise _unknown(where, section, isinstance(table, dict))
        if not isinstance(table, dict):
            raise ConfigError(
                f"{path}:{find_line(text, section, None)}: {section} must be one section\nwrite a line [{section}]"
            )
        for key, value in table.items():
            if key not in _hints(section):
                where = f"{path}:{find_line(text, section, key)}"
                raise ConfigError(
                    f"{where}: unknown key {key!r} in [{section}]\n{_nearest(key, list(_hints(section)))}"
                )
            values[section, key] = value
    return values


def _unknown(where: str, found: str, is_section: bool) -> ConfigError:
    if is_section:
        return ConfigError(f"{where}: unknown section [{found}]\n{_nearest(found, list(SECTIONS))}")
    homes = [section for section in SECTIONS if found in _hints(section)]
    if homes:
        return ConfigError(f"{where}: {found} stands outside its section\nput it under the line [{homes[0]}]")
    every = sorted({key for section in SECTIONS for key in _hints(section)})
    return ConfigError(f"{where}: unknown key {found!r} outside any section\n{_nearest(found, every)}")


def _nearest(found: str, known: list[str]) -> str:
    near = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    return (f"did you mean {near[0]}? " if near else "remove it; ") + "known here: " + ", ".join(known)


def _hints(section: str) -> dict[str, Any]:
    return get_type_hints(SECTIONS[section])


def _plain_type(hint: Any) -> type:
    """``str | None`` → ``str``, ``tuple[str, ...]`` → ``tuple``."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [kind for kind in get_args(hint) if kind is not type(None)]
    return cast(type, get_origin(hint) or hint)


def _variables(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(section, key, variable) for each override that is set.

    A name is refused where it begins with a section or is nearly a setting's; a launcher's own P2P_FLOCK_… is not.
    """
    known = {f"{section}_{key}".upper(): (section, key) for section in SECTIONS for key in _hints(section)}
    others = [variable.removeprefix(VARIABLE_PREFIX) for variable in _OTHER_VARIABLES]
    found: list[tuple[str, str, str]] = []
    for variable in sorted(environment):
        name = variable.removeprefix(VARIABLE_PREFIX)
        if name == variable or name in others:
            continue
        if name in known:
            found.append((*known[name], variable))
            continue
        near = difflib.get_close_matches(name, [*known, *others], n=1, cutoff=0.8)
        if near or name.split("_")[0].lower() in SECTIONS:
            advice = f"did you mean {VARIABLE_PREFIX}{near[0]}?" if near else "unset it"
            raise ConfigError(f"environment variable {variable} names no setting\n{advice}")
    return found


def _parse_variable(text: str, kind: type, variable: str) -> object:
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind is int and re.fullmatch(r"-?\d{1,19}", text):
        return int(text)
    if kind is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    if kind in (str, Path):
        return text
    raise ConfigError(
        f"environment variable {variable} must be {_KIND_NAMES[kind]}, not {text!r}\n"
        f"for example: {variable}={_EXAMPLES[kind]}"
    )


def _example(field: dataclasses.Field[Any], kind: type) -> str:
    """In TOML: the default where that is a number, for a port and a number of seconds look different."""
    return str(field.default) if kind is int and type(field.default) is int else _EXAMPLES[kind]


def _convert(value: object, field: dataclasses.Field[Any], section: str, where: str, base: Path) -> object:
    kind = _plain_type(_hints(section)[field.name])
    stored = list if kind is tuple else str if kind is Path else kind
    fits = type(value) is stored and (kind is not tuple or all(type(item) is str for item in cast(list[object], value)))
    if not fits:
        found = _KIND_NAMES.get(type(value), "a date")
        raise ConfigError(
            f"{where}: {section}.{field.name} must be {_KIND_NAMES[kind]}, not {found}\n"
            f"for example: {field.name} = {_example(field, kind)}"
        )
    if kind is Path:
        return (base / Path(cast(str, value)).expanduser()).absolute()
    converted = tuple(cast(list[str], value)) if kind is tuple else value
    check = cast("Callable[[object], None] | None", field.metadata["check"])
    if check is not None:
        try:
            check(converted)
        except ValueError as error:
            raise ConfigError(
                f"{where}: {section}.{field.name} must be {error}, not {_shown(value)}\n"
                "correct it; `p2p-flock config template` says what each setting means"
            ) from error
    return converted


def _shown(value: object) -> str:
    """As TOML writes it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_CHARACTERS_SHOWN_MAX else text[:VALUE_CHARACTERS_SHOWN_MAX] + "…"


def _check_together(
    config: NodeConfig, path: Path, origins: Mapping[tuple[str, str], str], environment: Mapping[str, str]
) -> None:
    """Rules between several settings."""
    chain = config.chain
    for key in ("beacon_public_key", "beacon_genesis", "beacon_period_seconds"):
        if getattr(chain, key) is not None and chain.beacon_scheme != "devnet":
            raise ConfigError(
                f"{origins['chain', key]}: chain.{key} has a meaning on a devnet only\n"
                'remove it, or set beacon_scheme = "devnet"'
            )
    for setting in dataclasses.fields(config.test):
        key = setting.name
        if not getattr(config.test, key):
            continue
        where, harm = origins["test", key], _HARM.get(key, "gives away private updates")
        if chain.chain_id not in DEVNET_CHAIN_IDS:
            raise ConfigError(
                f"{where}: test.{key} {harm}; chain {chain.chain_id} is no devnet\nremove the [test] section"
            )
        if environment.get(TEST_MODE_VARIABLE) != "1":
            raise ConfigError(
                f"{where}: test.{key} {harm} and is for tests only\n"
                f"remove it, or set {TEST_MODE_VARIABLE}=1 if this is such a test"
            )
