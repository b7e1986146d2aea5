"""One cell of ``bench/gas.py``: a steady round of an alliance, and the same round done FLock's way.

Whoever signs does so with local keys and the node's own code (``crypto/signing.py``); the chain checks everything.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib import resources

from p2p_flock.alliance.sortition import compute_assignment, compute_seed
from p2p_flock.bench.gas_chain import GasChain, Mined, Order
from p2p_flock.chain.account import Account
from p2p_flock.chain.beacon import compute_randomness, sign_beacon, uncompress_g1
from p2p_flock.chain.contracts import (
    ALLIANCE,
    FACTORY,
    TOKEN,
    address_bytes,
    compute_params_hash,
    load_contract,
    params_to_abi,
)
from p2p_flock.chain.devnet_beacon import SECRET_KEY
from p2p_flock.chain.records import RoundState
from p2p_flock.crypto.signing import (
    ballot_commitment,
    commit_digest,
    pack_marks,
    seal_digest,
    seal_struct_hash,
    sign,
)
from p2p_flock.crypto.suite import keccak256
from p2p_flock.params import AllianceParams
from p2p_flock.types import Domain, Vote

FLOCK = 10**18
ROUND_MEASURED = 2  # the third: from here on no slot is written for the first time but those of every round
PHASE_SECONDS = 60
SCORE_MICRO, GRADE = 900_000, 5
PEER_ID_BYTES = bytes.fromhex("002408011220")  # what precedes an Ed25519 key in a peer ID


@dataclass(frozen=True, slots=True)
class Cell:
    """Validators, trainers, cohorts."""

    validators: int
    trainers: int
    cohorts: int = 1


@dataclass(slots=True)
class Spent:
    """What a round took: its transactions, by name."""

    transactions: dict[str, list[Mined]] = field(default_factory=dict)

    def gas(self, *names: str) -> int:
        """Of these transactions; of all where none is named."""
        return sum(mined.gas for name in names or self.transactions for mined in self.transactions[name])

    def raws(self, *names: str) -> list[bytes]:
        """The signed bytes of these transactions; of all where none is named."""
        return [mined.raw for name in names or self.transactions for mined in self.transactions[name]]


def digest(*words: object) -> bytes:
    """32 bytes that look like any hash, the same in every run."""
    return hashlib.sha256(" ".join(map(str, words)).encode()).digest()


# --- ours --------------------------------------------------------------------------------------------------------


class GasAlliance:
    """An alliance with all its seats taken, whose rounds are played one after the other."""

    def __init__(self, chain: GasChain, cell: Cell) -> None:
        self._chain, self._cell = chain, cell
        self.params = _params(cell)
        self.contract, self._number = self._create()
        self._domain = Domain(_chain_id(chain), self.contract, self._number)
        accounts = chain.make_accounts(f"{cell}", cell.validators + cell.trainers)
        self._join(accounts)
        by_address = {account.address.lower(): account for account in accounts}
        seats: list[Account] = []
        while len(seats) < len(accounts):
            page = chain.view(ALLIANCE, self.contract, "getSeats", len(seats), 100)
            seats += [by_address[str(values[0]).lower()] for values in page]
        self._seats = seats

    def _create(self) -> tuple[bytes, int]:
        chain, params, factory = self._chain, self.params, self._chain.addresses["factory"]
        pool = params.reward_per_round * params.round_count
        approve = load_contract(TOKEN).functions["approve"].encode(factory, pool)
        create = load_contract(FACTORY).functions["create"].encode(params_to_abi(params), pool, "heart", [])
        chain.send([Order(chain.faucet, chain.addresses["token"], approve), Order(chain.faucet, factory, create)])
        number = int(chain.view(FACTORY, factory, "allianceCount"))
        return address_bytes(chain.view(FACTORY, factory, "alliances", number)), number

    def _join(self, accounts: list[Account]) -> None:
        chain, params, token = self._chain, self.params, self._chain.addresses["token"]
        functions, join = load_contract(TOKEN).functions, load_contract(ALLIANCE).functions["join"]
        stake, params_hash = params.seat_stake, compute_params_hash(params)
        addresses = [address_bytes(account.address) for account in accounts]
        chain.send([Order(chain.faucet, token, functions["transfer"].encode(a, stake)) for a in addresses])
        approve = functions["approve"].encode(self.contract, stake)
        chain.send([Order(account, token, approve) for account in accounts])
        orders = []
        for index, account in enumerate(accounts):
            peer_id, key = PEER_ID_BYTES + digest("peer", index), digest("mask key", index)
            proof: list[bytes] = []
            request = (peer_id, key, 1 + index % params.weight_max, params_hash, stake, digest(index) * 2, proof)
            orders.append(Order(account, self.contract, join.encode(request)))
        chain.send(orders)

    def play(self) -> Spent:
        """One round in which everybody takes part; what it took."""
        chain, spent = self._chain, Spent()
        state = RoundState(*chain.view(ALLIANCE, self.contract, "roundState"))
        beacon = sign_beacon(SECRET_KEY, state.beacon_round)
        seed = compute_seed(self._domain, state.round, compute_randomness(beacon))
        validators = [self._seats[seat] for seat in compute_assignment(seed, state.seat_count, self.params).validators]
        survivors = [(1 << min(256, self._cell.trainers - at)) - 1 for at in range(0, self._cell.trainers, 256)]
        manifest = digest("manifest", state.round)
        statement = (state.round, 0, state.beacon_round, seed, manifest, survivors)
        seal = seal_struct_hash(self._domain, state.round, 0, state.beacon_round, seed, manifest, survivors)
        quorum = self.params.seal_quorum  # the leader posts as soon as so many have signed
        signatures = b"".join(sign(bytes(v.key), seal_digest(self._domain, seal)) for v in validators[:quorum])
        proof = uncompress_g1(beacon)
        call = (state.round, 0, proof, manifest, survivors, (1 << quorum) - 1, signatures)
        spent.transactions["seal"] = self._send(validators[0], "sealRound", call, state.opens_at_s)
        ballots, commitments, signed = self._vote(validators, state.round, seal)
        everybody = (1 << len(validators)) - 1
        call_commit = (statement, everybody, commitments, b"".join(signed))
        spent.transactions["commit"] = self._send(validators[1], "commitRound", call_commit)
        order = bytes(range(len(validators)))
        settler = validators[2 % len(validators)]
        spent.transactions["settle"] = self._send(settler, "settleRound", (statement, order, [], ballots))
        return spent

    def _vote(
        self, validators: list[Account], round_number: int, seal: bytes
    ) -> tuple[list[tuple[int, bytes, list[bytes], bytes]], list[bytes], list[bytes]]:
        """Ballots as the contract's structs, their commitments, and the signatures over these."""
        count = self._cell.cohorts
        base, aggregates = digest("model", round_number), [digest("aggregate", round_number, k) for k in range(count)]
        ballots, commitments, signatures = [], [], []
        for position, validator in enumerate(validators):
            marks = pack_marks(position, SCORE_MICRO + position, bytes([Vote.YES]) * count, bytes([GRADE]) * count)
            salt = digest("salt", round_number, position)
            commitment = ballot_commitment(self._domain, round_number, seal, marks, base, aggregates, salt)
            signed = commit_digest(self._domain, round_number, seal, position, commitment)
            ballots.append((marks, base, aggregates, salt))
            commitments.append(commitment)
            signatures.append(sign(bytes(validator.key), signed))
        return ballots, commitments, signatures

    def _send(self, sender: Account, function: str, arguments: tuple[object, ...], at_s: int = 0) -> list[Mined]:
        data = load_contract(ALLIANCE).functions[function].encode(*arguments)
        return self._chain.send([Order(sender, self.contract, data)], at_s)


def _params(cell: Cell) -> AllianceParams:
    seats = cell.validators + cell.trainers
    return AllianceParams(
        manifest_digest=digest("task"),
        seat_stake=100 * FLOCK,
        reward_per_round=1_000 * FLOCK,
        round_count=ROUND_MEASURED + 2,
        seat_count_min=seats,
        seat_count_max=seats,
        validator_count=cell.validators,
        cohort_count=cell.cohorts,
        threshold=4,
        collusion_bound=0,
        lane_bits=32,
        levels=1 << 10,
        weight_max=8,
        loss_tolerance_micro=10_000,
        train_seconds=PHASE_SECONDS,
        seal_seconds=PHASE_SECONDS,
        unmask_seconds=PHASE_SECONDS,
        evaluate_seconds=PHASE_SECONDS,
        commit_seconds=PHASE_SECONDS,
        settle_seconds=PHASE_SECONDS,
        opening_slot_seconds=1,
        beacon_margin=1,
        redraw_rounds=1,
        penalty_window_seconds=86_400,
        unbonding_seconds=7 * 86_400,
        provable_slash_bps=1_000,
        void_count_max=3,
    )


def _chain_id(chain: GasChain) -> int:
    return int(chain.call("eth_chainId"), 16)


def measure_alliance(chain: GasChain, cell: Cell) -> Spent:
    """The third round of a fresh alliance."""
    alliance = GasAlliance(chain, cell)
    for _ in range(ROUND_MEASURED):
        alliance.play()
    return alliance.play()


# --- FLock's way -------------------------------------------------------------------------------------------------


def read_flock_style() -> bytes:
    """The comparison's creation code, of contracts/bench/FlockStyle.sol."""
    text = resources.files("p2p_flock.bench").joinpath("artifacts", "FlockStyle.json").read_text()
    return bytes.fromhex(json.loads(text)["bytecode"].removeprefix("0x"))


def _word(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.to_bytes(32, "big")


def _call_data(signature: str, *words: int | bytes) -> bytes:
    return keccak256(signature.encode())[:4] + b"".join(map(_word, words))


def measure_flock_style(chain: GasChain, cell: Cell) -> Spent:
    """The third round of a fresh contract with a transaction by each participant."""
    count = cell.validators + cell.trainers
    creation = read_flock_style() + _word(cell.validators) + _word(count)
    (created,) = chain.send([Order(chain.faucet, None, creation)])
    accounts = chain.make_accounts(f"{cell}", count)
    voters, proposers = accounts[: cell.validators], accounts[cell.validators :]
    spent = Spent()
    for number in range(ROUND_MEASURED + 1):
        steps = {
            "join": [(account, _call_data("joinRound()")) for account in accounts],
            "contribute": [
                (account, _call_data("contribute(bytes32)", digest("contribution", number, index)))
                for index, account in enumerate(proposers)
            ],
            "vote": [(voter, _call_data("vote(bytes32,int8)", digest("aggregate", number), 1)) for voter in voters],
            "finish": [(voters[0], _call_data("finish()"))],
        }
        for name, calls in steps.items():
            orders = [Order(account, created.contract, data) for account, data in calls]
            if name == "join":  # in this order: the first ones vote
                first, rest = orders[: cell.validators], orders[cell.validators :]
                spent.transactions[name] = chain.send(first) + chain.send(rest)
            else:
                spent.transactions[name] = chain.send(orders)
    return spent
