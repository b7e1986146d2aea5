"""What a deployment consists of, in which order, and with which terms on which network: the one home of all three.

Called by ``deploy.py``, which carries it out, by ``devnet_deployment.py`` for the local chain, and by the check and the
dry run. Pure: which contract stands where follows from the deployer and its nonces alone, so everything can be computed
before anything is sent. Must never be told what the chain holds; ``deploy_check.py`` compares the two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from p2p_flock.chain.account import encode_rlp
from p2p_flock.chain.beacon import (
    QUICKNET,
    BeaconNetwork,
    compute_randomness,
    g2_to_contract,
    sign_beacon,
    uncompress_g1,
)
from p2p_flock.chain.contracts import (
    ALLIANCE,
    BEACON,
    CHALLENGES,
    EMISSION,
    EVIDENCE,
    FACTORY,
    GENESIS,
    GM_FLOCK,
    GOVERNOR,
    MEMBERS,
    TIMELOCK,
    TOKEN,
    load_contract,
)
from p2p_flock.chain.devnet_beacon import PUBLIC_KEY, SECRET_KEY
from p2p_flock.chain.runtime_code import get_runtime_length
from p2p_flock.crypto.suite import keccak256
from p2p_flock.errors import UsageError

FLOCK = 10**18  # wei in one FLOCK, and in one gmFLOCK
SUPPLY_CAP_WEI = 1_000_000_000 * FLOCK  # FlockToken
EMISSION_WEI_MAX = 420_000_006 * FLOCK  # Emission's schedule, rounded up
LOCAL, BASE_SEPOLIA, BASE = "local", "base-sepolia", "base"
LOCAL_BEACON_AGE_ROUNDS = 10  # the local beacon looks as if it had run before its chain, so that no round is below 1
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400

# Gas of a creation, from above: EIP-2028, EIP-3860 and the yellow paper's table.
GAS_OF_TRANSACTION, GAS_OF_CREATE, GAS_PER_CODE_BYTE, GAS_PER_INIT_WORD = 21_000, 32_000, 200, 2
GAS_PER_ZERO_BYTE, GAS_PER_BYTE = 4, 16
GAS_TO_RUN_CONSTRUCTOR = 400_000  # each; what the constructors store, log and check


@dataclass(frozen=True, slots=True)
class GovernanceTerms:
    """What the governor starts with, in the order of the contract's ``GovernanceSettings``; see ``IFlockGovernor``."""

    voting_delay_s: int
    voting_period_s: int
    proposal_threshold_wei: int
    quorum_percent: int
    quorum_votes_wei_min: int
    timelock_delay_s: int


@dataclass(frozen=True, slots=True)
class NetworkTerms:
    """What is the same for every deployment on one network.

    Attributes:
        beacon: key and schedule of its drand network; ``None`` for the local one, whose schedule begins with the chain.
        known_beacon: a round and its signature (G1, compressed) as published, to ask the deployed beacon about.
        supply_wei: of FLOCK at the start.
        holder_named: whether the holder of that must be named; else it is the deployer.
    """

    chain_id: int
    beacon: BeaconNetwork | None
    known_beacon: tuple[int, bytes]
    supply_wei: int
    holder_named: bool
    governance: GovernanceTerms


# Round 1000 as drand's relays publish it; tests/vectors/beacon.json has it and others, checked by three verifiers.
QUICKNET_KNOWN = (
    1_000,
    bytes.fromhex("b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"),
)
SUPPLY_WEI = 579_999_994 * FLOCK  # all that the emission leaves under the cap
NETWORKS: Mapping[str, NetworkTerms] = {
    # Everything in seconds, so that a test sees a decision executed; a third of the testnet's members may decide.
    LOCAL: NetworkTerms(
        chain_id=84530,  # no public network's; near Base's
        beacon=None,
        known_beacon=(1, sign_beacon(SECRET_KEY, 1)),
        supply_wei=400_000_000 * FLOCK,
        holder_named=False,
        governance=GovernanceTerms(1, 20, 0, 4, FLOCK, 2),
    ),
    # A rehearsal with the real beacon: a decision takes an hour and a half.
    BASE_SEPOLIA: NetworkTerms(
        chain_id=84532,
        beacon=QUICKNET,
        known_beacon=QUICKNET_KNOWN,
        supply_wei=SUPPLY_WEI,
        holder_named=False,
        governance=GovernanceTerms(5 * MINUTE_S, HOUR_S, 1_000 * FLOCK, 4, 10_000 * FLOCK, 10 * MINUTE_S),
    ),
    # A day to see a proposal and lock for it, a week to vote, two days to leave before it is executed. Who holds the
    # first FLOCK is named, as it should be no deployer's key: a contract that distributes it, or several keys together.
    BASE: NetworkTerms(
        chain_id=8453,
        beacon=QUICKNET,
        known_beacon=QUICKNET_KNOWN,
        supply_wei=SUPPLY_WEI,
        holder_named=True,
        governance=GovernanceTerms(DAY_S, 7 * DAY_S, 100_000 * FLOCK, 4, 1_000_000 * FLOCK, 2 * DAY_S),
    ),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one deployment's constructors are given; all of it is written into its record. Addresses: 20 bytes."""

    beacon: BeaconNetwork
    initial_holder: bytes
    supply_wei: int
    governance: GovernanceTerms


def choose_parameters(
    network: str, deployer: bytes, initial_holder: bytes | None, now_s: int, local_period_s: int = 1
) -> Parameters:
    """The parameters of a deployment that begins now.

    Args:
        network: of :data:`NETWORKS`.
        initial_holder: whoever gets the first FLOCK; ``None``: the deployer, where the network's terms allow that.
        now_s: Unix seconds, for the local beacon's schedule.
        local_period_s: of that beacon.

    Raises:
        UsageError: the holder must be named.
    """
    terms = NETWORKS[network]
    if initial_holder is None and terms.holder_named:
        raise UsageError(
            f"Who holds the first {terms.supply_wei // FLOCK:,} FLOCK on {network}? Name the address with "
            "--initial-holder: a contract that distributes it, or one of several keys; not the deployer's key."
        )
    beacon = terms.beacon or BeaconNetwork(PUBLIC_KEY, now_s - LOCAL_BEACON_AGE_ROUNDS * local_period_s, local_period_s)
    return Parameters(beacon, initial_holder or deployer, terms.supply_wei, terms.governance)


@dataclass(frozen=True, slots=True)
class Child:
    """A contract that a step's constructor creates: its name here, its artifact, who creates it as which one."""

    name: str
    contract: str
    creator: str
    nonce: int


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction.

    Attributes:
        name: of the contract in records and messages.
        contract: its artifact.
        needs: names of contracts whose addresses are the constructor's arguments, in order; where there are none, the
            arguments come from the parameters.
        children: what its constructor creates in turn.
    """

    name: str
    contract: str
    needs: tuple[str, ...] = ()
    children: tuple[Child, ...] = ()


# Genesis creates these in this order, the governor its timelock; deploy_check.py asks Genesis whether it is so.
GENESIS_CHILDREN = (
    Child("token", TOKEN, "genesis", 1),
    Child("gm_flock", GM_FLOCK, "genesis", 2),
    Child("governor", GOVERNOR, "genesis", 3),
    Child("timelock", TIMELOCK, "governor", 1),
    Child("emission", EMISSION, "genesis", 4),
)
STEPS: tuple[Step, ...] = (
    Step("beacon", BEACON),
    Step("genesis", GENESIS, children=GENESIS_CHILDREN),
    Step("challenges", CHALLENGES, ("token", "beacon")),
    Step("evidence", EVIDENCE, ("token", "beacon", "challenges")),
    Step("members", MEMBERS, ("token", "beacon", "evidence")),
    Step("factory", FACTORY, ("token", "beacon", "members"), (Child("implementation", ALLIANCE, "factory", 1),)),
)
# Every contract of a deployment: name -> its artifact, and the artifact of the step that creates it.
CONTRACTS: Mapping[str, tuple[str, str]] = {
    name: (contract, step.contract)
    for step in STEPS
    for name, contract in ((step.name, step.contract), *((child.name, child.contract) for child in step.children))
}


def compute_address(creator: bytes, nonce: int) -> bytes:
    """Where what ``creator`` (20 bytes) creates with this nonce stands (yellow paper, section 7)."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    return keccak256(encode_rlp([creator, number]))[12:]


def compute_addresses(deployer: bytes, nonces: Mapping[str, int]) -> dict[str, bytes]:
    """Addresses (20 bytes) of the steps whose nonce is given, by name, and of all that they create."""
    addresses: dict[str, bytes] = {}
    for step in STEPS:
        if step.name in nonces:
            addresses[step.name] = compute_address(deployer, nonces[step.name])
            for child in step.children:
                addresses[child.name] = compute_address(addresses[child.creator], child.nonce)
    return addresses


def compute_arguments(step: Step, parameters: Parameters, addresses: Mapping[str, bytes]) -> tuple[object, ...]:
    """What the step's constructor is given; ``addresses`` must hold what it needs."""
    match step.name:
        case "beacon":
            beacon = parameters.beacon
            return g2_to_contract(beacon.public_key), beacon.genesis_s, beacon.period_s
        case "genesis":
            return (parameters.initial_holder, parameters.supply_wei, dataclasses.astuple(parameters.governance))
        case _:
            return tuple(addresses[name] for name in step.needs)


def compute_creation(step: Step, parameters: Parameters, addresses: Mapping[str, bytes]) -> bytes:
    """The data of the step's transaction: creation code and encoded arguments.

    Raises:
        ChainError: the installation lacks the artifact.
    """
    return load_contract(step.contract).encode_constructor(*compute_arguments(step, parameters, addresses))


def compute_encoded_arguments(step: Step, parameters: Parameters, addresses: Mapping[str, bytes]) -> bytes:
    """The end of the creation data: what an explorer asks for to verify the contract."""
    return compute_creation(step, parameters, addresses)[len(load_contract(step.contract).bytecode) :]


def compute_gas_max(step: Step, creation: bytes) -> int:
    """Gas that the step's transaction never exceeds, without asking a chain; some percent above what it takes.

    A factory's constructor cannot be simulated before the parts it asks exist, so a plan sent at once needs this.
    """
    zeros = creation.count(0)
    created = [step.contract, *(child.contract for child in step.children)]
    code_bytes = sum(get_runtime_length(name) for name in created)
    return (
        GAS_OF_TRANSACTION
        + GAS_PER_ZERO_BYTE * zeros
        + GAS_PER_BYTE * (len(creation) - zeros)
        + GAS_PER_INIT_WORD * len(creation) // 16  # once for the transaction, once for what it creates in turn
        + GAS_PER_CODE_BYTE * code_bytes
        + (GAS_OF_CREATE + GAS_TO_RUN_CONSTRUCTOR) * len(created)
    )


def compute_known_randomness(network: str) -> tuple[int, bytes, bytes]:
    """A published round of the network's beacon: number, signature as the contract takes it, randomness (32 bytes)."""
    beacon_round, signature = NETWORKS[network].known_beacon
    return beacon_round, uncompress_g1(signature), compute_randomness(signature)
