"""Reads a deployment back from the chain: is everything what the plan says, and is no key privileged?

Called after a deployment and by ``scripts/deploy --check``. Trusts nothing of the record but the deployer, the nonces
and the parameters: code is compared with the artifacts, addresses with the getters, rights with the logs that the
timelock's constructor left. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from p2p_flock.chain.beacon import g2_to_contract
from p2p_flock.chain.client import Call, Json, RpcClient, as_bytes, as_object
from p2p_flock.chain.contracts import (
    ALLIANCE,
    BEACON,
    EMISSION,
    FACTORY,
    GENESIS,
    GM_FLOCK,
    GOVERNOR,
    MEMBERS,
    TIMELOCK,
    TOKEN,
    address_text,
    load_contract,
)
from p2p_flock.chain.deployment_plan import CONTRACTS, GENESIS_CHILDREN, SUPPLY_CAP_WEI, compute_known_randomness
from p2p_flock.chain.deployment_record import DeploymentRecord
from p2p_flock.chain.runtime_code import is_runtime_code
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import ChainError, RpcError, UsageError

ADMIN_ROLE = bytes(32)  # OpenZeppelin's AccessControl
PROPOSER_ROLE, CANCELLER_ROLE, EXECUTOR_ROLE = (
    keccak256(name) for name in (b"PROPOSER_ROLE", b"CANCELLER_ROLE", b"EXECUTOR_ROLE")
)
NOBODY = bytes(20)  # as executor: anyone
GENESIS_GETTERS = {"token": "token", "gm_flock": "gmFlock", "governor": "governor"} | {
    name: name for name in ("timelock", "emission")
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One getter and what it must answer; addresses as hex text."""

    sentence: str
    contract: str
    address: bytes
    function: str
    expected: object
    arguments: tuple[object, ...] = ()


async def check_deployment(client: RpcClient, record: DeploymentRecord) -> list[str]:
    """Check everything; what was found right, a sentence each.

    Raises:
        UsageError: the deployment is not finished.
        ChainError: something is not what it must be, all of it in the text; or an endpoint failed.
    """
    if not record.is_complete:
        raise UsageError("This deployment is not finished: run scripts/deploy again without --check.")
    wrong = await _find_wrong_code(client, record)
    right = [] if wrong else [f"the code at all {len(CONTRACTS)} addresses is that of the artifacts"]
    if not wrong:  # a getter of another contract says nothing
        for fact in _facts(record):
            try:
                answer = await _read(client, fact)
            except RpcError as error:  # reverted: the beacon does so where it does not take a signature
                answer = str(error)
            if answer == fact.expected:
                right.append(fact.sentence)
            else:
                wrong.append(f"it is not so that {fact.sentence}: {_text(answer)} instead of {_text(fact.expected)}")
        granted = await _read_roles(client, record)
        if granted == _expected_roles(record.addresses):
            right.append("the timelock's constructor gave rights to the governor and to the timelock itself, no key")
        else:
            wrong.append(f"the timelock's constructor gave other rights than it should: {_text(granted)}")
    if wrong:
        raise ChainError("The deployment is not what it should be:\n  " + "\n  ".join(wrong))
    return right


async def _find_wrong_code(client: RpcClient, record: DeploymentRecord) -> list[str]:
    """A sentence about each address at which something else stands."""
    addresses = record.addresses
    calls = [Call("eth_getCode", (address_text(addresses[name]), "latest")) for name in CONTRACTS]
    answers = await client.agreed(calls)
    return [
        f"the code at {address_text(addresses[name])} ({name}) is not that of {artifacts[0]}"
        for (name, artifacts), code in zip(CONTRACTS.items(), answers, strict=True)
        if not is_runtime_code(*artifacts, as_bytes(code))
    ]


async def _read(client: RpcClient, fact: Fact) -> object:
    function = load_contract(fact.contract).functions[fact.function]
    data = "0x" + function.encode(*fact.arguments).hex()
    (answer,) = await client.agreed((Call("eth_call", ({"to": address_text(fact.address), "data": data}, "latest")),))
    (value,) = function.decode(as_bytes(answer))
    return value


def _text(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _facts(record: DeploymentRecord) -> Iterator[Fact]:
    """What the getters must say, in the order in which a reader asks."""
    addresses = record.addresses
    text = {name: address_text(address) for name, address in addresses.items()}
    for child in GENESIS_CHILDREN:
        getter = GENESIS_GETTERS[child.name]
        yield Fact(f"Genesis made {child.name}", GENESIS, addresses["genesis"], getter, text[child.name])
    yield Fact("only the emission mints FLOCK", TOKEN, addresses["token"], "minter", text["emission"])
    yield Fact("FLOCK is capped", TOKEN, addresses["token"], "cap", SUPPLY_CAP_WEI)
    yield Fact("the emission mints this FLOCK", EMISSION, addresses["emission"], "token", text["token"])
    yield Fact("only the timelock weighs gauges", EMISSION, addresses["emission"], "timelock", text["timelock"])
    yield Fact(
        "only the timelock lists staking contracts", GM_FLOCK, addresses["gm_flock"], "timelock", text["timelock"]
    )
    yield Fact("gmFLOCK carries the votes", GOVERNOR, addresses["governor"], "token", text["gm_flock"])
    yield Fact("the governor acts through this timelock", GOVERNOR, addresses["governor"], "timelock", text["timelock"])
    yield from _settings(record)
    yield from _roles(addresses, record.deployer)
    yield from _beacon(record)
    yield Fact("alliances are paid in this FLOCK", FACTORY, addresses["factory"], "token", text["token"])
    yield Fact("alliances ask this beacon", FACTORY, addresses["factory"], "beacon", text["beacon"])
    yield Fact("alliances run this code", FACTORY, addresses["factory"], "implementation", text["implementation"])
    yield Fact("alliances have these members", ALLIANCE, addresses["implementation"], "members", text["members"])
    yield Fact("members answer to this evidence", MEMBERS, addresses["members"], "evidence", text["evidence"])
    yield Fact("evidence has these challenges", ALLIANCE, addresses["evidence"], "challenges", text["challenges"])


def _settings(record: DeploymentRecord) -> Iterator[Fact]:
    terms, governor = record.parameters.governance, record.addresses["governor"]
    changed = "as deployed (proposals may change it)"
    for function, expected in (
        ("votingDelay", terms.voting_delay_s),
        ("votingPeriod", terms.voting_period_s),
        ("proposalThreshold", terms.proposal_threshold_wei),
        ("quorumNumerator", terms.quorum_percent),
        ("quorumVotesMin", terms.quorum_votes_wei_min),
    ):
        yield Fact(f"the governor's {function} is {expected}, {changed}", GOVERNOR, governor, function, expected)
    delay_s = terms.timelock_delay_s
    sentence = f"the timelock's delay is {delay_s} s, {changed}"
    yield Fact(sentence, TIMELOCK, record.addresses["timelock"], "getMinDelay", delay_s)


def _roles(addresses: Mapping[str, bytes], deployer: bytes) -> Iterator[Fact]:
    timelock, governor = addresses["timelock"], addresses["governor"]

    def has(sentence: str, role: bytes, account: bytes, expected: bool) -> Fact:
        return Fact(sentence, TIMELOCK, timelock, "hasRole", expected, (role, account))

    yield has("the governor proposes", PROPOSER_ROLE, governor, True)
    yield has("the governor cancels", CANCELLER_ROLE, governor, True)
    yield has("anyone executes what was decided", EXECUTOR_ROLE, NOBODY, True)
    yield has("the timelock administers itself", ADMIN_ROLE, timelock, True)
    for name, role in (("proposes", PROPOSER_ROLE), ("cancels", CANCELLER_ROLE), ("administers", ADMIN_ROLE)):
        yield has(f"the deployer never {name}", role, deployer, False)


def _beacon(record: DeploymentRecord) -> Iterator[Fact]:
    beacon, address = record.parameters.beacon, record.addresses["beacon"]
    yield Fact(
        "the beacon has the drand network's key", BEACON, address, "publicKey", g2_to_contract(beacon.public_key)
    )
    yield Fact("the beacon has its genesis", BEACON, address, "genesis", beacon.genesis_s)
    yield Fact("the beacon has its period", BEACON, address, "period", beacon.period_s)
    number, signature, randomness = compute_known_randomness(record.network)
    sentence = f"the beacon takes the published signature of round {number}"
    yield Fact(sentence, BEACON, address, "verify", randomness, (number, signature))


async def _read_roles(client: RpcClient, record: DeploymentRecord) -> set[tuple[str, str]]:
    """Who was given what when the timelock was made. Afterwards only the timelock itself can give: by a proposal."""
    block = record.steps["genesis"].block
    assert block is not None
    query: dict[str, Json] = {
        "address": address_text(record.addresses["timelock"]),
        "fromBlock": hex(block),
        "toBlock": hex(block),
    }
    (answer,) = await client.agreed((Call("eth_getLogs", (query,)),), lambda answers: len(str(answers)))
    events, granted = load_contract(TIMELOCK).events, set()
    if not isinstance(answer, list):
        raise ChainError("The endpoint answered no logs.")
    for item in answer:
        log = as_object(item)
        topics = log.get("topics")
        if not isinstance(topics, list) or not topics:
            raise ChainError("The endpoint answered a log without topics.")
        names = [as_bytes(topic, 32) for topic in topics]
        event = events.get(names[0])
        if event is not None and event.name in ("RoleGranted", "RoleRevoked", "RoleAdminChanged"):
            values = event.decode(names, as_bytes(log.get("data")))
            if event.name != "RoleGranted":
                raise ChainError(f"The timelock's constructor logged {event.name}; nothing should be given and taken.")
            granted.add(("0x" + values["role"].hex(), values["account"]))
    return granted


def _expected_roles(addresses: Mapping[str, bytes]) -> set[tuple[str, str]]:
    timelock, governor = addresses["timelock"], addresses["governor"]
    given = (
        (ADMIN_ROLE, timelock),
        (PROPOSER_ROLE, governor),
        (CANCELLER_ROLE, governor),
        (EXECUTOR_ROLE, NOBODY),
    )
    return {("0x" + role.hex(), address_text(account)) for role, account in given}
