"""What an alliance's numbers cost before any of it is spent: traffic, gas and US dollars per round and role. Pure.

Called by ``alliance create``, ``alliance show`` and ``join``. Nothing here is fetched: gas and bytes are fitted to what
``scripts/bench gas`` (contracts/README.md, "Gas") and ``scripts/bench rounds`` and ``size`` (bench/COST.md) measured,
prices are named, dated and replaceable. Must never decide what is signed; ``chain/bidding.py`` does.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2p_flock.params import PLAIN_LANE_BITS, AllianceParams, compute_holder_count

WEI_PER_GWEI = 10**9
GWEI_PER_ETH = 10**9

# Prices of Base on 2026-02-19, of which ``chain/fees.py`` names the sources; the price of an ETH is an assumption.
PRICES_DATE = "February 2026"
GAS_GWEI = 0.006  # Base's minimum base fee, which it mostly charges, and the tip that our sender offers
ETH_USD = 3_000.0

# Least squares over the twelve cells of contracts/README.md, and four cells of `scripts/bench gas --cohorts`; the
# tests compare. By trainers it is flat: 10 gas each, of half a million, for the bitmap of survivors.
SEAL_GAS, SEAL_GAS_PER_VALIDATOR = 197_500, 4_330
COMMIT_GAS, COMMIT_GAS_PER_VALIDATOR = 61_300, 9_240
SETTLE_GAS, SETTLE_GAS_PER_VALIDATOR = 125_900, 5_100
COHORT_GAS, COHORT_GAS_PER_VALIDATOR = 7_400, 1_100  # of settling, for each cohort after the first
GAS_PER_TRAINER = 10
FIRST_ROUND_GAS = 85_000  # more than a later round's: slots are written for the first time

# Once and not per round; measured by the first transactions of `scripts/bench gas`: approval and call.
CREATE_GAS = 46_000 + 441_000
JOIN_GAS = 46_000 + 372_000

# Bytes of what travels beside the vectors, of the forms in WIRE.md, and what no form says: requests for blobs, gossip,
# framing and encryption, repetitions. The last was fitted to bench/COST.md.
# What a command may not load numpy and msgpack for stands here once more; a test compares.
SHARE_BYTES, CHUNK_BYTES = 32, 1 << 20
PACKED_BITS, PACKED_BYTES = 60, 8
ENVELOPE_BYTES = 200
DOCUMENT_BYTES = 450
BUNDLE_BYTES = 120
MANIFEST_ENTRY_BYTES = 105
ITEM_BYTES = 40  # of an unmasking: one share
BALLOTING_BYTES = 900  # what a validator tells each other one, beside what it holds
OVERHEAD_BYTES_PER_PEER = 1_600
PEERS_MAX = 12  # a node talks much with so many; gossip goes no further


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes between members, per settled round of training and node, when nothing goes wrong.

    Left out: the connection's keeping alive, some kilobytes a minute;
    what nodes ask the chain's endpoint; a model's download by whoever joins later; repetitions on a bad line.

    Attributes:
        trainer_up_bytes, trainer_down_bytes: of a trainer, sent and received.
        validator_up_bytes, validator_down_bytes: of a validator. Which one serves the sum is chance: one may send all
            of it, others none, this is their mean.
        mean_bytes: sent and received together, averaged over all members. Roles change, so over many rounds each
            member comes to this.
        first_round_bytes: as ``mean_bytes``, of round 0, which sums the data's statistics.
    """

    trainer_up_bytes: int
    trainer_down_bytes: int
    validator_up_bytes: int
    validator_down_bytes: int
    mean_bytes: int
    first_round_bytes: int

    @property
    def trainer_bytes(self) -> int:
        """Sent and received by a trainer."""
        return self.trainer_up_bytes + self.trainer_down_bytes

    @property
    def validator_bytes(self) -> int:
        """Sent and received by a validator."""
        return self.validator_up_bytes + self.validator_down_bytes


@dataclass(frozen=True, slots=True)
class GasCost:
    """Gas on L2. A round's three transactions are sent by validators; trainers send none.

    Attributes:
        seal_gas, commit_gas, settle_gas: the three transactions of a round.
        validator_gas: of one validator, on average, in a round in which it is one.
        trainer_gas: of a trainer; 0.
        member_gas: per round and member over many rounds, in which roles change.
        create_gas, join_gas: once, with the token's approval.
        alliance_gas: of all rounds, the creation and every member's joining; claims and leaving not counted.
    """

    seal_gas: int
    commit_gas: int
    settle_gas: int
    validator_gas: int
    trainer_gas: int
    member_gas: int
    create_gas: int
    join_gas: int
    alliance_gas: int

    @property
    def round_gas(self) -> int:
        """Of a round, all its transactions together."""
        return self.seal_gas + self.commit_gas + self.settle_gas


@dataclass(frozen=True, slots=True)
class Prices:
    """What gas and ETH cost; see :data:`PRICES_DATE`. Base's share of Ethereum's fees is not in it: see :func:`usd`."""

    gas_gwei: float = GAS_GWEI
    eth_usd: float = ETH_USD

    def usd(self, gas: int) -> float:
        """US dollars for so much gas."""
        return usd(gas, self.gas_gwei, self.eth_usd)

    def eth(self, gas: int) -> float:
        """ETH for so much gas."""
        return gas * self.gas_gwei / GWEI_PER_ETH

    def describe(self) -> str:
        """The assumption as a sentence, for below any figure in USD."""
        dated = f" (prices of {PRICES_DATE})" if self == DEFAULT_PRICES else " (your prices)"
        return (
            f"USD at {self.gas_gwei:g} gwei for gas and {self.eth_usd:,.0f} USD for an ETH{dated}. On days when "
            "Ethereum is expensive, Base adds up to twice as much again."
        )


DEFAULT_PRICES = Prices()


def usd(gas: int, gwei: float = GAS_GWEI, eth_usd: float = ETH_USD) -> float:
    """US dollars for so much gas at these prices.

    Without the fee for Ethereum's blobs, which ``chain/fees.py`` computes for signed bytes: in contracts/README.md's
    table, it is 1 % of this at the low prices there, and 80 % (3 validators) to 190 % (64) at the high ones.
    """
    return gas * gwei / GWEI_PER_ETH * eth_usd


def estimate_gas(params: AllianceParams, seats: int) -> GasCost:
    """Gas of a round in which everybody takes part, and of the whole alliance.

    Args:
        seats: how many are taken, at least the committee's.
    """
    validators = params.validator_count
    seal, commit, settle = compute_round_gas(validators, params.cohort_count, max(0, seats - validators))
    whole = seal + commit + settle
    return GasCost(
        seal_gas=seal,
        commit_gas=commit,
        settle_gas=settle,
        validator_gas=whole // validators,
        trainer_gas=0,
        member_gas=whole // seats,
        create_gas=CREATE_GAS,
        join_gas=JOIN_GAS,
        alliance_gas=CREATE_GAS + JOIN_GAS * seats + FIRST_ROUND_GAS + whole * params.round_count,
    )


def compute_round_gas(validators: int, cohorts: int, trainers: int) -> tuple[int, int, int]:
    """Of seal, commit and settle, in a round in which everybody takes part."""
    seal = SEAL_GAS + SEAL_GAS_PER_VALIDATOR * validators + GAS_PER_TRAINER * trainers
    commit = COMMIT_GAS + COMMIT_GAS_PER_VALIDATOR * validators
    settle = SETTLE_GAS + SETTLE_GAS_PER_VALIDATOR * validators
    settle += (COHORT_GAS + COHORT_GAS_PER_VALIDATOR * validators) * (cohorts - 1)
    return seal, commit, settle


def compute_vector_bytes(lane_bits: int, lane_count: int) -> int:
    """Size of a masked vector: as ``crypto/ring.py``, ``Ring.vector_bytes``."""
    if lane_bits in PLAIN_LANE_BITS:
        return lane_count * lane_bits // 8
    return -(-lane_count // (PACKED_BITS // lane_bits)) * PACKED_BYTES


def estimate_traffic(params: AllianceParams, parameter_count: int, statistics_count: int, seats: int) -> Traffic:
    """Bytes that a settled round of training takes, in which everybody takes part.

    A masked update goes once to each validator, each cohort's sum once to each member that did not open it: with large
    models that is all (the ideal of ``bench/size.py``). With small ones documents, shares and gossip outweigh it.

    Args:
        parameter_count: D, lanes of an update.
        statistics_count: S, lanes of a contribution of round 0; 0 where the task has none.
        seats: how many are taken, at least the committee's and as many trainers as the cohorts need.

    Raises:
        ParameterError: the numbers serve no graph.
    """
    up_down = _count_bytes(params, parameter_count, seats)
    return Traffic(*up_down, _mean(params, up_down, seats), _first_round(params, statistics_count, seats))


def _first_round(params: AllianceParams, statistics_count: int, seats: int) -> int:
    return _mean(params, _count_bytes(params, statistics_count, seats), seats) if statistics_count else 0


def _mean(params: AllianceParams, up_down: tuple[int, int, int, int], seats: int) -> int:
    validators, trainers = params.validator_count, max(1, seats - params.validator_count)
    trainer, validator = sum(up_down[:2]), sum(up_down[2:])
    return (trainers * trainer + validators * validator) // (trainers + validators)


def _count_bytes(params: AllianceParams, lane_count: int, seats: int) -> tuple[int, int, int, int]:
    """Of a trainer, sent and received, and of a validator."""
    validators, cohorts = params.validator_count, params.cohort_count
    trainers = max(1, seats - validators)
    vector = compute_vector_bytes(params.lane_bits, lane_count)
    owners = max(params.survivors_min, -(-trainers // cohorts))
    holders = compute_holder_count(owners, params.threshold, params.collusion_bound)
    partners = min(owners - 1, holders * (holders - 1))
    document = DOCUMENT_BYTES + SHARE_BYTES * (-(-vector // CHUNK_BYTES) + holders - 1 + partners + _path(partners))
    contribution = vector + document + SHARE_BYTES * holders**2
    # Shares of its own secrets and of its neighbors', spread over those that hold any.
    bundle = BUNDLE_BYTES + SHARE_BYTES * (-(-holders * holders // (partners + 1)) + _path(partners))
    told = 2 * ENVELOPE_BYTES + ITEM_BYTES * holders
    manifest = ENVELOPE_BYTES + MANIFEST_ENTRY_BYTES * trainers
    overhead = OVERHEAD_BYTES_PER_PEER * min(seats - 1, PEERS_MAX)
    fetched = partners * document + manifest + cohorts * vector  # by each trainer, from validators
    voting = (validators - 1) * (BALLOTING_BYTES + MANIFEST_ENTRY_BYTES * trainers)
    return (
        validators * (contribution + told) + partners * bundle + overhead,
        fetched + partners * bundle + overhead,
        trainers * fetched // validators + voting + overhead,
        trainers * (contribution + told) + voting + overhead,
    )


def _path(leaves: int) -> int:
    """Siblings on a path through a Merkle tree of so many leaves."""
    return leaves.bit_length()
