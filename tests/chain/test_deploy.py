"""The deployment on a chain: broken off anywhere it goes on, never deploys twice, and refuses what it does not know."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio

from p2p_flock.chain.account import Account, Transaction
from p2p_flock.chain.anvil import BASE_RULES, FAUCET_KEY, open_anvil
from p2p_flock.chain.beacon import QUICKNET
from p2p_flock.chain.client import Json, RpcClient, as_quantity
from p2p_flock.chain.contracts import TIMELOCK, address_text, load_contract
from p2p_flock.chain.deploy import Door, compute_funds_wei, deploy, deploy_at_once, require_chain, require_funds
from p2p_flock.chain.deploy_check import PROPOSER_ROLE, check_deployment
from p2p_flock.chain.deploy_cost import estimate, format_costs, read_fees, rehearse
from p2p_flock.chain.deployment_plan import (
    BASE,
    BASE_SEPOLIA,
    LOCAL,
    NETWORKS,
    STEPS,
    choose_parameters,
    compute_creation,
    compute_gas_max,
)
from p2p_flock.chain.deployment_record import DeploymentRecord, StepRecord, lock_record, read_record, write_record
from p2p_flock.chain.fees import BaseFees, compute_l1_fee_wei
from p2p_flock.chain.keystore import create_account
from p2p_flock.errors import ChainError, DataDirectoryLockedError, TransactionFailedError, UsageError

CHAIN_ID = NETWORKS[LOCAL].chain_id
ARGUMENTS = (*BASE_RULES, "--chain-id", str(CHAIN_ID), "--base-fee", "5000000", "--accounts", "1")
L1_BLOCK = "0x4200000000000000000000000000000000000015"


class BrokenOff(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def chain_url() -> Iterator[str]:
    with open_anvil(*ARGUMENTS) as url:
        yield url


@pytest.fixture
async def door(chain_url: str) -> AsyncIterator[Door]:
    """The faucet's door to a chain on which nothing was deployed."""
    client = RpcClient([chain_url])
    snapshot = await client.call("evm_snapshot")
    yield Door(client, Account.from_key(FAUCET_KEY), 0.01, 3.0)
    assert await client.call("evm_revert", snapshot)
    client.close()


@pytest.fixture
async def own_door() -> AsyncIterator[Door]:
    """The same to a chain of its own, whose mining and whose pool a test may disturb."""
    with open_anvil(*ARGUMENTS) as url:
        client = RpcClient([url])
        yield Door(client, Account.from_key(FAUCET_KEY), 0.01, 3.0)
        client.close()


def begin(door: Door, network: str = LOCAL) -> DeploymentRecord:
    parameters = choose_parameters(network, door.address, b"\x22" * 20, 1_700_000_000)
    return DeploymentRecord(network, door.address, parameters)


def ignore(_: object) -> None:
    pass


async def count(door: Door) -> int:
    return as_quantity(await door.client.call("eth_getTransactionCount", address_text(door.address), "latest"))


def breaking_off(path: Path, at_save: int, *, written: bool) -> Callable[[DeploymentRecord], None]:
    """Saves like the command does, until the process ends, before or after the file was written."""
    saves = 0

    def save(record: DeploymentRecord) -> None:
        nonlocal saves
        saves += 1
        if saves < at_save or written:
            write_record(path, record)
        if saves == at_save:
            raise BrokenOff

    return save


async def test_deploy__then_check(door: Door, tmp_path: Path) -> None:
    """What the command does in the end would not be what was planned."""
    path = tmp_path / "deployments" / "local.json"
    lines: list[str] = []
    record = await deploy(door, begin(door), lambda newest: write_record(path, newest), lines.append)
    assert read_record(path) == record
    assert record.is_complete
    assert len(lines) == 2 * len(STEPS)
    found = await check_deployment(door.client, record)
    assert "only the emission mints FLOCK" in found
    assert await deploy(door, record, ignore, ignore) == record  # nothing left to do
    assert await count(door) == len(STEPS)


@pytest.mark.parametrize("written", [True, False])
async def test_deploy__broken_off_anywhere(door: Door, tmp_path: Path, written: bool) -> None:
    """A crash between two steps, or between a transaction and its receipt, would pay for a contract twice."""
    for at_save in range(1, 2 * len(STEPS) + 1):
        snapshot = await door.client.call("evm_snapshot")
        path = tmp_path / f"{at_save}.json"
        with pytest.raises(BrokenOff):
            await deploy(door, begin(door), breaking_off(path, at_save, written=written), ignore)
        started = read_record(path) or begin(door)
        record = await deploy(door, started, lambda newest, at=path: write_record(at, newest), ignore)
        assert record.is_complete
        assert await count(door) == len(STEPS), f"broken off at save {at_save}"
        assert await door.client.call("evm_revert", snapshot)


async def test_deploy__goes_on_after_a_reorganisation(own_door: Door) -> None:
    """Steps that a fork of the chain has lost would be looked for in vain, or sent to other addresses."""
    record = await deploy(own_door, begin(own_door), ignore, ignore)
    await own_door.client.call("anvil_rollback", 3)
    again = await deploy(own_door, record, ignore, ignore)
    assert again.addresses == record.addresses
    assert await count(own_door) == len(STEPS)
    await check_deployment(own_door.client, again)


async def test_deploy__when_no_block_takes_it(own_door: Door) -> None:
    """A congested chain would leave a transaction behind that a second one follows, both mined."""
    impatient = dataclasses.replace(own_door, replace_after_s=0.05)
    saved: list[DeploymentRecord] = []
    await own_door.client.call("evm_setAutomine", False)
    with pytest.raises(ChainError, match="no block took it"):
        await deploy(impatient, begin(own_door), saved.append, ignore)
    step = saved[-1].steps["beacon"]
    assert len(step.transactions) > 2  # offered again at higher fees, all written down, with one nonce
    await own_door.client.call("evm_setAutomine", True)
    await own_door.client.call("evm_mine")
    record = await deploy(own_door, saved[-1], ignore, ignore)
    assert record.steps["beacon"].nonce == step.nonce
    assert await count(own_door) == len(STEPS)


async def test_deploy__nonce_used_by_another_program(
    own_door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorded nonce that a transfer took would stop the deployment for ever."""
    monkeypatch.setattr("p2p_flock.chain.deploy.USED_NONCE_S_MAX", 0.05)
    path = tmp_path / "local.json"
    with pytest.raises(BrokenOff):
        await deploy(own_door, begin(own_door), breaking_off(path, 1, written=True), ignore)
    started = read_record(path)
    assert started is not None
    raw, _ = own_door.account.sign_transaction(Transaction(CHAIN_ID, 0, 10**6, 10**10, 21_000, bytes(20), 0, b""))
    await own_door.client.call("eth_sendRawTransaction", "0x" + raw.hex())
    await own_door.client.call("evm_mine")
    record = await deploy(own_door, started, ignore, ignore)
    assert record.steps["beacon"].nonce == 1
    assert record.addresses["beacon"] != started.addresses["beacon"]
    await check_deployment(own_door.client, record)


async def test_deploy__refuses_what_it_does_not_know(door: Door) -> None:
    """Other code at a recorded address, another deployer or other artifacts: all would be built upon."""
    record = await deploy(door, begin(door), ignore, ignore)
    stranger = dataclasses.replace(door, account=create_account())
    with pytest.raises(UsageError, match="was begun by"):
        await deploy(stranger, record, ignore, ignore)
    changed = record.with_step("members", dataclasses.replace(record.steps["members"], creation_sha256="00"))
    with pytest.raises(UsageError, match="another Members was deployed"):
        await deploy(door, changed, ignore, ignore)
    await door.client.call("anvil_setCode", address_text(record.addresses["evidence"]), "0x6001")
    with pytest.raises(ChainError, match="is not that of Evidence"):
        await deploy(door, record, ignore, ignore)
    assert await count(door) == len(STEPS)


async def test_deploy__constructor_refuses(door: Door) -> None:
    """Ether would be burnt for a creation that cannot succeed."""
    parameters = dataclasses.replace(begin(door).parameters, supply_wei=600_000_000 * 10**18)
    with pytest.raises(TransactionFailedError, match="SupplyTooLarge"):
        await deploy(door, dataclasses.replace(begin(door), parameters=parameters), ignore, ignore)
    assert await count(door) == 1  # the beacon alone


async def test_require_chain__another_chain(door: Door) -> None:
    """A rehearsal meant for a test network would be carried out where it costs."""
    await require_chain(door.client, LOCAL)
    for network in (BASE, BASE_SEPOLIA):
        with pytest.raises(UsageError, match=f"on chain {CHAIN_ID}, and {network} is chain"):
            await require_chain(door.client, network)


async def test_require_funds__says_how_much(door: Door) -> None:
    """An account would run dry between two steps."""
    await require_funds(door, begin(door), BaseFees())
    poor = dataclasses.replace(door, account=create_account())
    with pytest.raises(UsageError, match=r"holds 0\.000000 ETH.*Send it \d\.\d{6} ETH; nothing was sent"):
        await require_funds(poor, begin(poor), BaseFees())
    needed = compute_funds_wei(begin(poor), 0, (await door.client.head()).base_fee_wei, BaseFees())
    await door.client.call("anvil_setBalance", address_text(poor.address), hex(needed))
    await require_funds(poor, begin(poor), BaseFees())
    record = await deploy(poor, begin(poor), ignore, ignore)
    await require_funds(poor, record, BaseFees())  # nothing left to pay for


async def test_check__sees_a_privileged_key(door: Door) -> None:
    """Somebody's key could propose to the timelock, and nobody would know."""
    record = await deploy(door, begin(door), ignore, ignore)
    timelock = address_text(record.addresses["timelock"])
    grant = load_contract(TIMELOCK).functions["grantRole"].encode(PROPOSER_ROLE, door.address)
    await door.client.call("anvil_setBalance", timelock, hex(10**18))
    await door.client.call("anvil_impersonateAccount", timelock)
    call: Json = {"from": timelock, "to": timelock, "data": "0x" + grant.hex()}
    await door.client.call("eth_sendTransaction", call)
    await door.client.call("evm_mine")
    with pytest.raises(ChainError, match="it is not so that the deployer never proposes"):
        await check_deployment(door.client, record)


async def test_check__sees_other_terms_and_other_code(door: Door) -> None:
    """A deployment with another quorum or another beacon would be announced as the planned one."""
    record = await deploy(door, begin(door), ignore, ignore)
    terms = dataclasses.replace(record.parameters.governance, quorum_percent=5, timelock_delay_s=3)
    other = dataclasses.replace(record, parameters=dataclasses.replace(record.parameters, governance=terms))
    with pytest.raises(ChainError, match=r"quorumNumerator is 5.*4 instead of 5") as caught:
        await check_deployment(door.client, other)
    assert "the timelock's delay is 3 s" in str(caught.value)
    with pytest.raises(UsageError, match="not finished"):
        await check_deployment(door.client, begin(door))
    await door.client.call("anvil_setCode", address_text(record.addresses["token"]), "0x6001")
    with pytest.raises(ChainError, match=r"\(token\) is not that of FlockToken"):
        await check_deployment(door.client, record)


async def test_check__sees_another_beacon(door: Door) -> None:
    """Whoever knows the key of a false beacon draws the roles of every round."""
    parameters = dataclasses.replace(begin(door).parameters, beacon=QUICKNET)
    record = await deploy(door, dataclasses.replace(begin(door), parameters=parameters), ignore, ignore)
    with pytest.raises(ChainError, match="it is not so that the beacon takes the published signature of round 1:"):
        await check_deployment(door.client, record)
    taken = dataclasses.replace(record, parameters=begin(door).parameters)
    with pytest.raises(ChainError, match="it is not so that the beacon has the drand network's key"):
        await check_deployment(door.client, taken)


async def test_deploy_at_once__is_the_same_deployment(door: Door) -> None:
    """The development chain would be another protocol than the one that is deployed."""
    record = await deploy_at_once(door, LOCAL, begin(door).parameters)
    await check_deployment(door.client, record)
    assert await deploy(door, record, ignore, ignore) == record
    assert await count(door) == len(STEPS)


def gas_in_all(line: str) -> int:
    return int(line.split()[2].replace(",", ""))


def test_rehearsal__measures_every_network() -> None:
    """The dry run would show the cost of something else; and its check, of quicknet's key, would fail on Base first."""
    for network in (BASE_SEPOLIA, BASE):
        costs = trio.run(rehearse, network, None)
        assert [cost.name for cost in costs] == [step.name for step in STEPS]
        parameters = choose_parameters(network, b"\x11" * 20, b"\x22" * 20, 1_700_000_000)
        record = DeploymentRecord(network, b"\x11" * 20, parameters)
        for nonce, (step, cost) in enumerate(zip(STEPS, costs, strict=True)):
            record = record.with_step(step.name, StepRecord(nonce, ""))
            bound = compute_gas_max(step, compute_creation(step, record.parameters, record.addresses))
            assert cost.gas <= bound <= 1.35 * cost.gas  # a bound that holds, and says something
            assert bound < 1 << 24
    table = format_costs(costs, BaseFees(), 3_000.0)
    readme = (Path(__file__).parents[2] / "contracts" / "README.md").read_text(encoding="utf-8")
    stated, measured = (
        [gas_in_all(line) for line in text.splitlines() if "in all  " in line] for text in (readme, table)
    )
    assert stated == pytest.approx(measured, rel=0.1)  # which the README prints
    assert "at 0.005 gwei base fee" in table


async def test_estimate__of_an_endpoint(door: Door) -> None:
    """Prices of the endpoint's chain would be ignored, and a step that cannot be simulated would end the dry run."""
    costs = await estimate(door.client, LOCAL, None)
    assert [cost.name for cost in costs if cost.is_bound] == ["factory"]
    assert (await read_fees(door.client)).l1_base_fee_wei == BaseFees().l1_base_fee_wei
    for slot, value in ((1, 7 * 10**9), (7, 3 * 10**9), (3, 1_368 << 96 | 810_949 << 64)):
        await door.client.call("anvil_setStorageAt", L1_BLOCK, hex(slot), f"0x{value:064x}")
    fees = await read_fees(door.client)
    assert fees.l1_fee_wei(costs[0].raw) == compute_l1_fee_wei(costs[0].raw, 7 * 10**9, 3 * 10**9, 1_368, 810_949)
    assert "at most" in format_costs(costs, fees, 3_000.0)


def test_record__damaged_or_locked(tmp_path: Path) -> None:
    """A half-written or foreign file would be taken for a deployment; two runs at once would deploy twice."""
    path = tmp_path / "local.json"
    assert read_record(path) is None
    for text in ("", "{}", "[]", '{"network": "mars"}', "x" * 300_000):
        path.write_text(text)
        with pytest.raises(UsageError, match="is no record of a deployment"):
            read_record(path)
    with lock_record(path), pytest.raises(DataDirectoryLockedError, match="Another run deploys"), lock_record(path):
        pass
    with lock_record(path):
        pass
