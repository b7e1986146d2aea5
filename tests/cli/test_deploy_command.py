"""``scripts/deploy`` as its user sees it: what it refuses, what it prints, and that a key is never shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_flock.chain.account import Account
from p2p_flock.chain.anvil import BASE_RULES, FAUCET_KEY, open_anvil
from p2p_flock.chain.deployment_plan import CONTRACTS
from p2p_flock.chain.deployment_record import read_record
from p2p_flock.chain.keystore import write_keystore
from p2p_flock.cli.deploy import main

PASSWORD = "correct horse battery"
HOLDER = "0x" + "22" * 20


@pytest.fixture(scope="module")
def chain_url() -> Iterator[str]:
    with open_anvil(*BASE_RULES, "--chain-id", "84530", "--base-fee", "5000000", "--accounts", "1") as url:
        yield url


@pytest.fixture
def keystore(tmp_path: Path) -> list[str]:
    """Options that name the faucet's key, encrypted."""
    write_keystore(tmp_path / "keystore.json", Account.from_key(FAUCET_KEY), PASSWORD, light=True)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD + "\n")
    return ["--keystore", str(tmp_path / "keystore.json"), "--password-file", str(password)]


def test_command__deploys_goes_on_and_checks(
    chain_url: str, keystore: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command would do something else than the functions behind it."""
    words = ["--network", "local", "--rpc-url", chain_url, "--directory", str(tmp_path / "records")]
    assert main([*words, *keystore, "--initial-holder", HOLDER]) == 0
    shown = capsys.readouterr().out
    record = read_record(tmp_path / "records" / "local.json")
    assert record is not None
    assert record.is_complete
    assert record.parameters.initial_holder.hex() == "22" * 20
    for name in CONTRACTS:
        assert record.addresses[name].hex() in shown
    assert FAUCET_KEY.hex() not in shown
    assert main([*words, *keystore]) == 0
    assert "sending" not in capsys.readouterr().out
    assert main([*words, "--check"]) == 0
    assert "ok: only the emission mints FLOCK" in capsys.readouterr().out
    assert main([*words, *keystore, "--initial-holder", "0x" + "33" * 20]) == 1
    assert "leave --initial-holder away" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--network", "base"], "spends real ETH for good"),
        (["--network", "base", "--yes"], "Pass --rpc-url"),
        (["--network", "local"], "Pass --directory"),
        (["--network", "base-sepolia", "--check"], "There is no"),
        (["--network", "base-sepolia", "--rpc-url", "URL"], "is on chain 84530, and base-sepolia is chain 84532"),
        (["--network", "base", "--dry-run", "--rpc-url", "URL"], "is on chain 84530, and base is chain 8453"),
        (["--network", "local", "--rpc-url", "URL", "--keystore", "none", "--password-file", "none"], "cannot read"),
    ],
)
def test_command__refuses(
    chain_url: str, words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of these would cost money, or end in a traceback."""
    given = [chain_url if word == "URL" else word for word in words]
    directory = [] if said == "Pass --directory" else ["--directory", str(tmp_path)]
    assert main([*given, *directory]) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_command__dry_run(chain_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody would know beforehand what a deployment costs."""
    assert main(["--network", "base", "--dry-run", "--eth-usd", "2000", "--base-fee-gwei", "0.01"]) == 0
    shown = capsys.readouterr().out
    assert "rehearsal" in shown
    assert "at 0.01 gwei base fee and 0.001 gwei tip" in shown
    assert "2000 USD for an ETH" in shown
    words = ["--network", "local", "--rpc-url", chain_url, "--dry-run", "--verification", str(tmp_path / "inputs")]
    assert main(words) == 0
    assert "as the endpoint estimates it" in capsys.readouterr().out
    assert (tmp_path / "inputs" / "Genesis.json").exists()
