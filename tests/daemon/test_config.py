"""Settings: strict, with file and line, from one list of fields."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from p2p_flock.daemon.config import SECTIONS, NodeConfig
from p2p_flock.daemon.config_file import find_line, load_config, parse_config
from p2p_flock.daemon.config_template import render_config
from p2p_flock.errors import ConfigError

FACTORY = "0x" + "ab" * 20
PEER = "/ip4/203.0.113.7/tcp/4101/p2p/12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw"
MINIMAL = f"""[chain]
rpc_urls = ["http://127.0.0.1:8545"]
chain_id = 84530
factory = "{FACTORY}"
"""
PATH = Path("/srv/node/config.toml")


def parse(text: str, **environment: str) -> NodeConfig:
    return parse_config(text, PATH, environment)


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, **environment)
    message = str(caught.value)
    assert message.count("\n") == 1, f"one line what is wrong, one line what to do: {message!r}"
    return message


def test_config__minimal_file_takes_the_defaults() -> None:
    """A newcomer would have to write forty settings."""
    config = parse(MINIMAL)
    assert config.chain.rpc_urls == ("http://127.0.0.1:8545",)
    assert config.chain.chain_id == 84_530
    assert config.net.listen_port == 4_101
    assert config.learning.data_path is None
    assert config.test.disable_masks is False


def test_config__every_setting_is_read() -> None:
    """A setting in the template would have no effect."""
    text = f"""{MINIMAL}
governor = "{FACTORY}"
token = "{FACTORY}"
beacon = "{FACTORY}"
beacon_urls = ["http://127.0.0.1:1", "https://drand.example/path"]
beacon_scheme = "devnet"
beacon_public_key = "0x{"cd" * 96}"
beacon_genesis = 1700000000
beacon_period_seconds = 1
poll_interval_ms = 100
confirmations = 0
from_block = 7
rpc_timeout_ms = 900
fee_gwei_max = 7
[net]
listen_host = "127.0.0.1"
listen_port = 0
bootstrap = ["{PEER}"]
announce = ["/dns4/node.example/tcp/4101"]
bootstrap_file = "peers.toml"
mdns = false
register_addresses = false
[alliance]
reactivate = false
[learning]
task = "heart"
data_path = "data/cleveland.csv"
data_seed = 5
example_weight_bucket = 8
local_only = false
memory_bytes_max = 1073741824
[node]
log_format = "json"
log_level = "debug"
exit_when_closed = true
mask_engine = "plain"
[store]
blob_bytes_max = 1073741824
[dashboard]
enabled = false
port = 4181
[test]
record_sent_path = "recorded/sent.bin"
save_encodings = true
disable_masks = true
clock_offset_ms = -250
fault_port_path = "cut.json"
"""
    config = parse(text, P2P_FLOCK_TEST_MODE="1")
    assert config.learning.data_path == PATH.parent / "data/cleveland.csv"
    assert config.test.record_sent_path == PATH.parent / "recorded/sent.bin"
    assert config.net.bootstrap == (PEER,)
    assert config.net.bootstrap_file == PATH.parent / "peers.toml"
    for section, kind in SECTIONS.items():
        for field in dataclasses.fields(kind):
            assert getattr(getattr(config, section), field.name) != field.default, f"{section}.{field.name}"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (MINIMAL + "confirmation = 3\n", 5, "did you mean confirmations?"),
        (MINIMAL + "[net]\n\nlisten_prot = 1\n", 7, "did you mean listen_port?"),
        (MINIMAL + "# note\n[nett]\nlisten_port = 1\n", 6, "did you mean net?"),
        ("listen_port = 1\n" + MINIMAL, 1, "put it under the line [net]"),
        ("zzz = 1\n" + MINIMAL, 1, "outside any section"),
        (MINIMAL + "[net]\n'listen_prot' = 1\n", 6, "did you mean listen_port?"),
        ("net.listen_prot = 1\n" + MINIMAL, 1, "did you mean listen_port?"),
        ("net = {listen_prot = 1}\n" + MINIMAL, 1, "did you mean listen_port?"),
        ("net = 4\n" + MINIMAL, 1, "[net]"),
        (MINIMAL + "[[net]]\nlisten_port = 1\n", 5, "[net]"),
    ],
)
def test_config__unknown_name_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    """A mistyped setting would silently not count."""
    message = refusal(text)
    assert message.startswith(f"{PATH}:{line}: "), message
    assert says in message


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('listen_port = "4101"', "must be a whole number, not text"),
        ("listen_port = true", "must be a whole number, not true or false"),
        ("listen_port = 4.5", "must be a whole number, not a number with a fraction"),
        ("listen_port = 65536", "must be a whole number from 0 to 65535"),
        ("listen_port = -1", "must be a whole number from 0 to 65535"),
        ("listen_port = 2020-01-01", "not a date"),
        ('bootstrap = "/ip4"', "must be a list of texts, not text"),
        ("bootstrap = [1]", "must be a list of texts"),
        ('bootstrap = ["/ip4/1.2.3.4/tcp/4101"]', "with a peer ID"),
        ('bootstrap = ["/ip4/1.2.3.4/tcp/4101/p2p/12D3KooWrong"]', "whose peer ID is valid"),
        ('announce = ["127.0.0.1:4101"]', "an address like"),
        ('announce = ["/ip4/1.2.3.4/tcp/70000"]', "an address like"),
        ('listen_host = ""', "1 to 255 characters"),
        ("listen_host = {a = 1}", "not a table"),
    ],
)
def test_config__wrong_value_is_refused_with_its_line(setting: str, says: str) -> None:
    """A node would start with a setting that fails much later."""
    message = refusal(f"{MINIMAL}[net]\n{setting}\n")
    assert message.startswith(f"{PATH}:6: net.{setting.split(maxsplit=1)[0]} "), message
    assert says in message


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('rpc_urls = ["ftp://host"]', "a URL like"),
        ('rpc_urls = ["http://"]', "a URL like"),
        ('rpc_urls = ["http://host:99999"]', "a URL like"),
        ("rpc_urls = []", "a list of 1 to 2 items"),
        ("chain_id = 0", "from 1"),
        ('factory = "ab"', "0x and 40 hex digits"),
        ('beacon_scheme = "own"', "one of quicknet, devnet"),
    ],
)
def test_config__wrong_chain_value_is_refused(setting: str, says: str) -> None:
    """A node would talk to a wrong place, or to none."""
    key = setting.split(maxsplit=1)[0]
    text = re.sub(rf"(?m)^{key} = .*\n", "", MINIMAL) + setting + "\n"
    assert says in refusal(text)


@pytest.mark.parametrize("key", ["rpc_urls", "chain_id", "factory"])
def test_config__missing_required_setting_is_named(key: str) -> None:
    """A newcomer would see a traceback instead of what to add."""
    message = refusal(re.sub(rf"(?m)^{key} = .*\n", "", MINIMAL))
    assert f"[chain] {key} is missing" in message


def test_config__devnet_beacon_values_need_the_devnet_scheme() -> None:
    """An operator would believe a key that is not used."""
    assert "beacon_genesis" in refusal(MINIMAL + "beacon_genesis = 5\n")
    assert parse(MINIMAL + 'beacon_scheme = "devnet"\nbeacon_genesis = 5\n').chain.beacon_genesis == 5


def test_config__broken_toml_has_its_line() -> None:
    """An operator would search the whole file."""
    assert refusal(MINIMAL + "[net]\nlisten_port = \n").startswith(f"{PATH}:6: not valid TOML")
    assert "not valid TOML" in refusal(MINIMAL + "[net")


SETTINGS_FOR_TEST = [
    "disable_masks = true",
    "save_encodings = true",
    'record_sent_path = "x"',
    "clock_offset_ms = -5",
    'fault_port_path = "x"',
]


@pytest.mark.parametrize("setting", SETTINGS_FOR_TEST)
def test_config__test_settings_need_a_test_and_a_devnet(setting: str) -> None:
    """A real node would give its private updates away because of one line in a file."""
    text = f"{MINIMAL}[test]\n{setting}\n"
    assert "P2P_FLOCK_TEST_MODE=1" in refusal(text)
    assert "P2P_FLOCK_TEST_MODE=1" in refusal(text, P2P_FLOCK_TEST_MODE="0")
    assert "no devnet" in refusal(text.replace("84530", "8453"), P2P_FLOCK_TEST_MODE="1")
    parse(text, P2P_FLOCK_TEST_MODE="1")


def test_config__environment_overrides_the_file() -> None:
    """A container could not be configured without writing files."""
    config = parse(
        MINIMAL + "[net]\nlisten_port = 1\n",
        P2P_FLOCK_NET_LISTEN_PORT="4200",
        P2P_FLOCK_CHAIN_RPC_URLS="http://a:1, http://b:2",
        P2P_FLOCK_NODE_EXIT_WHEN_CLOSED="true",
        P2P_FLOCK_LEARNING_TASK="heart",
        P2P_FLOCK_STARTED_AT="12.5",
        HOME="/root",
    )
    assert config.net.listen_port == 4_200
    assert config.chain.rpc_urls == ("http://a:1", "http://b:2")
    assert config.node.exit_when_closed is True
    assert config.learning.task == "heart"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("P2P_FLOCK_NET_LISTEN_PROT", "1", "did you mean P2P_FLOCK_NET_LISTEN_PORT?"),
        ("P2P_FLOCK_NTE_LISTEN_PORT", "1", "did you mean P2P_FLOCK_NET_LISTEN_PORT?"),
        ("P2P_FLOCK_NET_ZZZ", "1", "names no setting"),
        ("P2P_FLOCK_PASWORD", "1", "did you mean P2P_FLOCK_PASSWORD?"),
        ("P2P_FLOCK_NET_LISTEN_PORT", "many", "must be a whole number"),
        ("P2P_FLOCK_NET_LISTEN_PORT", "99999", "from 0 to 65535"),
        ("P2P_FLOCK_NODE_EXIT_WHEN_CLOSED", "yes", "must be true or false"),
    ],
)
def test_config__wrong_variable_is_refused_by_name(name: str, value: str, says: str) -> None:
    """A mistyped variable would silently not count."""
    message = refusal(MINIMAL, **{name: value})
    assert message.startswith(f"environment variable {name}")
    assert says in message


def test_config__template_names_every_setting_and_reads_back() -> None:
    """The template would go stale, or `init` write a file that the daemon refuses."""
    bare = render_config({})
    uncommented = "\n".join(
        line.removeprefix("# ") for line in bare.splitlines() if line.startswith("[") or re.match(r"# \w+ = \S", line)
    )
    parse(uncommented.replace("# required", ""))
    for section, kind in SECTIONS.items():
        assert f"[{section}]" in bare
        for field in dataclasses.fields(kind):
            assert re.search(rf"(?m)^# {field.name} =", bare), field.name
            assert f"# {field.metadata['comment']}\n" in bare
    strange = 'quotes " and \\ and ü and 🦜'
    written = render_config(
        {
            ("chain", "rpc_urls"): ("http://127.0.0.1:8545",),
            ("chain", "chain_id"): 84_530,
            ("chain", "factory"): FACTORY,
            ("learning", "data_path"): Path("/data") / strange,
            ("node", "exit_when_closed"): True,
        }
    )
    config = parse(written)
    assert config.learning.data_path == Path("/data") / strange
    assert config.node.exit_when_closed is True


def test_config__line_is_not_searched_inside_texts() -> None:
    """The operator would be sent to a wrong line."""
    text = 'x = """\n[net]\nlisten_prot = 1\n"""\n[chain]\nlisten_prot = 1\n[net]\nlisten_prot = 2\n'
    assert find_line(text, "net", "listen_prot") == 8
    assert find_line(text, "net", None) == 7


def test_config__unreadable_file_is_named(tmp_path: Path) -> None:
    """A newcomer who has not run init would see a traceback."""
    with pytest.raises(ConfigError, match="p2p-flock init"):
        load_config(tmp_path / "config.toml", {})
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "config.toml", {})
    (tmp_path / "config.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="longer"):
        load_config(tmp_path / "config.toml", {})
