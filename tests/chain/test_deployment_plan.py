"""The plan of a deployment: addresses, arguments and terms, compared with Ethereum's libraries and drand's vectors."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from eth_account import Account as EthAccount
from web3 import Web3

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.anvil import FAUCET_KEY
from p2p_flock.chain.beacon import QUICKNET, verify_beacon
from p2p_flock.chain.contracts import GENESIS
from p2p_flock.chain.deployment_plan import (
    BASE,
    BASE_SEPOLIA,
    CONTRACTS,
    EMISSION_WEI_MAX,
    FLOCK,
    LOCAL,
    NETWORKS,
    STEPS,
    SUPPLY_CAP_WEI,
    Parameters,
    Step,
    choose_parameters,
    compute_address,
    compute_addresses,
    compute_arguments,
    compute_creation,
    compute_encoded_arguments,
    compute_known_randomness,
)
from p2p_flock.chain.runtime_code import is_runtime_code, load_runtime_code
from p2p_flock.errors import UsageError

DEPLOYER, HOLDER = b"\x11" * 20, b"\x22" * 20
INIT_CODE_BYTES_MAX = 49_152  # EIP-3860
NONCES = {step.name: number for number, step in enumerate(STEPS)}
ADDRESSES = compute_addresses(DEPLOYER, NONCES)
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "beacon.json").read_text())


def parameters(network: str = LOCAL) -> Parameters:
    return choose_parameters(network, DEPLOYER, HOLDER, 1_700_000_000)


@pytest.mark.parametrize(
    ("nonce", "address"),
    [
        (0, "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
        (1, "343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
        (2, "f778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
        (3, "fffd933a0bc612844eaf0c6fe3e5b8e9b6c1d19c"),
    ],
)
def test_address__known_answers(nonce: int, address: str) -> None:
    """A lost receipt would be looked for where nothing can ever stand."""
    creator = bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")
    assert compute_address(creator, nonce).hex() == address


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step.name))
def test_creation__is_web3s(step: Step) -> None:
    """Wrongly encoded arguments would make a contract with another beacon, holder or supply."""
    text = (resources.files("p2p_flock.chain") / "artifacts" / f"{step.contract}.json").read_text()
    artifact = json.loads(text)
    ours = compute_creation(step, parameters(), ADDRESSES)
    given = compute_arguments(step, parameters(), ADDRESSES)
    addresses = {value: Web3.to_checksum_address(value) for value in (*ADDRESSES.values(), HOLDER)}
    theirs = Web3().eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    values = [addresses.get(value, value) if isinstance(value, bytes) else value for value in given]
    assert "0x" + ours.hex() == theirs.constructor(*values).data_in_transaction
    assert ours.endswith(compute_encoded_arguments(step, parameters(), ADDRESSES))


def test_creation__is_signed_as_eth_account_signs() -> None:
    """No chain would take a creation signed in another form; ``to`` is left empty, which transfers never do."""
    creation = compute_creation(STEPS[0], parameters(), ADDRESSES)
    fields = Transaction(8453, 3, 1_000_000, 21_000_000, 2_000_000, None, 0, creation)
    raw, digest = Account.from_key(FAUCET_KEY).sign_transaction(fields)
    theirs = EthAccount.sign_transaction(
        {
            **{"chainId": 8453, "nonce": 3, "gas": 2_000_000, "value": 0, "data": "0x" + creation.hex()},
            **{"maxPriorityFeePerGas": 1_000_000, "maxFeePerGas": 21_000_000, "type": 2},
        },
        FAUCET_KEY,
    )
    assert raw == bytes(theirs.raw_transaction)
    assert digest == bytes(theirs.hash)


@pytest.mark.parametrize("network", NETWORKS)
def test_creations__fit_a_transaction(network: str) -> None:
    """A creation above EIP-3860's limit is refused by every chain."""
    for step in STEPS:
        assert len(compute_creation(step, parameters(network), ADDRESSES)) <= INIT_CODE_BYTES_MAX


@pytest.mark.parametrize("network", NETWORKS)
def test_terms__leave_room_for_the_emission(network: str) -> None:
    """The token's cap would stop the emission in its last years."""
    terms = NETWORKS[network]
    assert terms.supply_wei + EMISSION_WEI_MAX <= SUPPLY_CAP_WEI
    assert 0 < terms.governance.quorum_percent <= 100
    assert terms.governance.quorum_votes_wei_min > 0
    assert terms.governance.voting_period_s > 0


def test_terms__of_public_networks() -> None:
    """Another chain number or beacon would be another network; the three numbers are those of the chains' registry."""
    assert [NETWORKS[name].chain_id for name in (LOCAL, BASE_SEPOLIA, BASE)] == [84530, 84532, 8453]
    for name in (BASE_SEPOLIA, BASE):
        assert parameters(name).beacon == QUICKNET
        assert NETWORKS[name].governance.timelock_delay_s >= 600


def test_known_beacons__are_published_ones() -> None:
    """The deployed beacon would be asked about a signature that no beacon takes."""
    (published,) = [entry for entry in VECTORS["quicknet"]["rounds"] if entry["round"] == 1_000]
    number, signature, randomness = compute_known_randomness(BASE)
    assert number == 1_000
    assert "0x" + signature.hex() == published["signature"]
    assert "0x" + randomness.hex() == published["randomness"]
    for network in NETWORKS:
        number, signature, _ = compute_known_randomness(network)
        assert verify_beacon(parameters(network).beacon.public_key, number, signature)


def test_holder__must_be_named_on_base() -> None:
    """The deployer's key, which lies on some machine, would hold every FLOCK there is."""
    with pytest.raises(UsageError, match="Who holds the first 579,999,994 FLOCK on base"):
        choose_parameters(BASE, DEPLOYER, None, 0)
    assert choose_parameters(BASE_SEPOLIA, DEPLOYER, None, 0).initial_holder == DEPLOYER
    assert choose_parameters(BASE, DEPLOYER, HOLDER, 0).initial_holder == HOLDER


def test_steps__need_only_what_stands_before() -> None:
    """A constructor would be given an address at which nothing stands yet."""
    known: set[str] = set()
    for step in STEPS:
        assert set(step.needs) <= known
        known |= {step.name, *(child.name for child in step.children)}
    assert known == set(CONTRACTS) == set(ADDRESSES)


@pytest.mark.parametrize("name", CONTRACTS)
def test_runtime_code__is_in_the_creation_code(name: str) -> None:
    """What stands on a chain could be compared with nothing."""
    code = load_runtime_code(*CONTRACTS[name])
    assert is_runtime_code(*CONTRACTS[name], code)


def test_runtime_code__differs_in_immutables_only() -> None:
    """Another contract would pass for ours, or ours for another because of its addresses."""
    code = load_runtime_code(GENESIS, GENESIS)
    at = code.index(b"\x7f" + bytes(32)) + 1
    assert is_runtime_code(GENESIS, GENESIS, code[:at] + b"\x33" * 32 + code[at + 32 :])
    for changed in (code[:-1], code + b"\x00", bytes([code[0] ^ 1]) + code[1:], code[: at - 1] + b"\x7e" + code[at:]):
        assert not is_runtime_code(GENESIS, GENESIS, changed)


def test_readme__states_the_terms() -> None:
    """Whoever deploys would be promised another quorum than is deployed."""
    text = (Path(__file__).parents[2] / "contracts" / "README.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    stated = {row[0]: row[1:] for row in rows if row[0] in NETWORKS}
    for network, terms in NETWORKS.items():
        settings = terms.governance
        numbers = [settings.voting_delay_s, settings.voting_period_s, settings.proposal_threshold_wei // FLOCK]
        assert stated[network] == [
            str(terms.chain_id),
            "quicknet" if terms.beacon == QUICKNET else "the development key",
            f"{terms.supply_wei // FLOCK:,}",
            "`--initial-holder`" if terms.holder_named else "the deployer",
            *(f"{number:,}" for number in numbers),
            f"{settings.quorum_percent} %",
            f"{settings.quorum_votes_wei_min // FLOCK:,}",
            f"{settings.timelock_delay_s:,}",
        ]
