"""A whole alliance over many rounds on a heap with virtual time: real machines, a chain, a network, and all faults.

Everything follows from the :class:`Config`: same configuration, same trace digest, in every process. What happens is
told as facts (``facts.py``) to the checkers, which raise as soon as a property is broken. Run by ``simulate.py`` and by
tests; ``SIMULATOR.md`` says what is simplified.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np

from p2p_flock import ports
from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.alliance.voting import compute_grade, is_acceptable_change
from p2p_flock.chain_events import ChainEvent, RoundOpened, RoundSealed
from p2p_flock.testing import hazards
from p2p_flock.testing.alliance import DOMAIN, OPENS_AT_S, make_model, make_task
from p2p_flock.testing.configuration import Checker, Config, Result, make_default_params
from p2p_flock.testing.contract import Contract
from p2p_flock.testing.contract_rounds import execute
from p2p_flock.testing.contract_state import CLOSED, Call, Claim, Join, Log, Refused, State
from p2p_flock.testing.endpoints import Endpoint, read_together
from p2p_flock.testing.facts import (
    AllClaimed,
    BalanceTaken,
    Ended,
    Fact,
    Healed,
    Logged,
    Reorganised,
    RoundBegan,
    Served,
)
from p2p_flock.testing.learning import Learning
from p2p_flock.testing.ledger import BLOCK_MS, Block, Ledger
from p2p_flock.testing.network import NOTICED_MS, PULL_TIMEOUT_MS, Network, Partition
from p2p_flock.testing.node import Node
from p2p_flock.testing.sharing import sharing
from p2p_flock.testing.suites import Suite
from p2p_flock.testing.timeline import Timeline
from p2p_flock.testing.trace import Trace
from p2p_flock.testing.world import World
from p2p_flock.types import Role, Stage
from p2p_flock.wire.messages import Contribution, Envelope, Message

__all__ = ["Checker", "Config", "Result", "Simulation", "make_default_params"]

BALANCE_STAKES = 10  # what each member owns at the start
SCORE_MICRO = 500_000  # what every member measures of every model
UPKEEP_MS = 500  # after each block
CREATOR = bytes(19) + b"\x01"
RETRANSMIT_MS = 15_000  # a transaction that no block took is sent again; ``chain/transactions.py``


class Simulation(Timeline):
    """See the module. One run of one configuration.

    Attributes:
        nodes: by member number.
        byzantine: members whose machine is not ours.
    """

    def __init__(self, config: Config, checkers: Sequence[Checker] = ()) -> None:
        start_ms = OPENS_AT_S * 1000
        super().__init__(config.seed, start_ms)
        self.config, self.start_ms, self.faults = config, start_ms, config.faults
        self._checkers = list(checkers)
        self.trace, self.counts = Trace(), Counter[str]()
        self.is_healed = False
        self.crashes = 0
        self.reorgs_after_seal_left = config.faults.reorgs_after_seal
        self.are_all_honest = config.are_all_honest
        self.byzantine = frozenset() if config.are_all_honest else frozenset(config.makes)
        task = config.task or make_task(parameter_count=config.parameter_count)
        self.params = config.params or make_default_params(config.nodes, config.rounds, config.parameter_count)
        model = make_model(is_training=False, task=task)
        self.world = World(DOMAIN, self.params, task, model, Suite(config.suite))
        self.learning = Learning(config.seed, model)
        self.network = Network(config.faults, self._chance("network"))
        self._fault_chance = self._chance("faults")
        self._contract = Contract(DOMAIN, self.params, CREATOR, self.world.suite.recover, self.world.randomness)
        self._draw_secrets = [self.draw_bytes(f"owner {number}") for number in range(config.nodes)]
        self.ledger = self._make_ledger()
        self.first_block = self.ledger.tip
        self._logged: Block = self.ledger.tip
        self.nodes = [self._make_node(number) for number in range(config.nodes)]
        self.member_of = {node.owner: node.number for node in self.nodes}
        self._members: dict[int, tuple[RoundContext, tuple[int, ...]]] = {}
        self._begun: set[int] = set()
        self._differing: dict[int, int | None] = {}

    # --- set-up ------------------------------------------------------------------------------------------------

    @staticmethod
    def make_chance(seed: int, name: str) -> random.Random:
        """A generator of its own for each purpose, so that one more draw here changes nothing there."""
        return random.Random(f"{seed} {name}")

    def _chance(self, name: str) -> random.Random:
        return self.make_chance(self.config.seed, name)

    def draw_bytes(self, name: str) -> bytes:
        """32 bytes that follow from the seed and a name."""
        return hashlib.sha256(f"p2p_flock simulation {self.config.seed} {name}".encode()).digest()

    def _make_ledger(self) -> Ledger:
        stake, pool = self.params.seat_stake, self.params.reward_per_round * self.params.round_count
        owners = [self.world.suite.address_of(secret) for secret in self._draw_secrets]
        balances = dict.fromkeys(owners, BALANCE_STAKES * stake)
        state = State(pool=pool, balances=balances, minted=sum(balances.values()) + pool, since_s=self.now_ms // 1000)
        return Ledger(self._contract, state, self.now_ms, self._chance("chain"))

    def _make_node(self, number: int) -> Node:
        endpoints = [Endpoint() for _ in range(self.config.endpoint_count)]
        return Node(self, number, self._draw_secrets[number], endpoints, self.config.makes.get(number))

    def watch(self, checker: Checker) -> None:
        """Tell this checker too, from now on."""
        self._checkers.append(checker)

    # --- the run -----------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Until the alliance is closed and everybody has its last model, or until the limit.

        Raises:
            Violation: a checker found a property broken.
        """
        with sharing() if self.config.is_sharing else nullcontext():
            return self._run()

    def _run(self) -> Result:
        chance = self._chance("founding")
        for node in self.nodes:
            weight = chance.randint(1, self.params.weight_max)
            self.ledger.submit(node.owner, Join(node.peer_id, node.make_mask_key(), weight), lambda reason: None)
        self._mine()
        for node in self.nodes:
            self.at(chance.randint(0, 300), node.start)
        hazards.plan(self, self._fault_chance)
        self.at(self.faults.heal_ms, self._heal)
        self.at(BLOCK_MS, self._tick_chain)
        limit_ms = self.start_ms + (self.config.limit_ms or self._default_limit_ms())
        self.run_until(lambda: self._is_over() or self.now_ms >= limit_ms)
        history = self.world.history(self.ledger.tip)
        settled = sum(record.settled is not None for record in history.rounds)
        voided = sum(record.voided is not None for record in history.rounds)
        self._claim_everything()
        self.emit(Ended(self.now_ms, settled, voided))
        for checker in self._checkers if self._is_over() else ():
            checker.finish()
        return Result(
            self.trace.digest, settled, voided, self._is_over(), self.now_ms - self.start_ms, self.steps,
            self.trace.count, dict(sorted(self.counts.items())),
        )  # fmt: skip

    def _claim_everything(self) -> None:
        """Nobody claims during a run; in the end everybody can, on a copy of the state."""
        state = self.ledger.tip.state.copy()
        log = Log(self.ledger.tip.number + 1, 0, self.ledger.tip.timestamp_s, bytes(32))
        records = tuple(state.settled.values())
        for owner in [*(node.owner for node in self.nodes), CREATOR]:
            try:
                execute(self._contract, state, owner, Claim(records), log)
            except Refused as error:
                if error.reason != "NothingToClaim":
                    raise
        self._emit_balance(state)
        self.emit(AllClaimed(self.now_ms, state.owed))

    def _default_limit_ms(self) -> int:
        """Healing, and then time for every round to be void once and to settle."""
        p = self.params
        round_s = p.train_seconds + p.unmask_seconds + p.evaluate_seconds + p.settle_seconds + 30
        round_s += p.validator_count * (p.seal_seconds + p.commit_seconds + p.settle_seconds)
        return self.faults.heal_ms + 1000 * round_s * 2 * (self.config.rounds + p.void_count_max)

    def _is_over(self) -> bool:
        tip = self.ledger.tip
        if not self.is_healed or tip.view.phase != CLOSED:
            return False
        history = self.world.history(tip)
        return all(
            node.tip is not None and node.history is history and node.next_round == len(history.rounds)
            for node in self.nodes
            if node.is_honest and not node.is_dead
        )

    def at(self, delay_ms: int, action: Callable[[], object]) -> None:
        """Plan an action."""
        self._at(delay_ms, action)

    def emit(self, fact: Fact) -> None:
        """Something happened."""
        self.trace.add(fact)
        self.counts[type(fact).__name__] += 1
        for checker in self._checkers:
            checker.observe(fact)

    def _heal(self) -> None:
        """Nothing new goes wrong from now on."""
        self.is_healed = self.network.is_healed = True
        self.emit(Healed(self.now_ms))
        hazards.heal(self)

    # --- the chain ---------------------------------------------------------------------------------------------

    def _tick_chain(self) -> None:
        delay_ms = BLOCK_MS
        if hazards.strikes_chain(self, self._fault_chance):
            delay_ms = 3 * BLOCK_MS
        else:
            self._mine()
        self.at(delay_ms, self._tick_chain)

    def _mine(self) -> None:
        parent = self.ledger.tip
        block = self.ledger.mine(self.now_ms)
        self.tell_blocks(parent)
        self.at(UPKEEP_MS, partial(self._upkeep, block))

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks."""
        old = self.ledger.tip
        first = self.ledger.reorganise(depth, self.now_ms)
        if self.ledger.tip is old:
            return
        self.emit(Reorganised(self.now_ms, self.ledger.fork, first))
        while self._logged.number >= first:
            assert self._logged.parent is not None
            self._logged = self._logged.parent
        self.tell_blocks(old)

    def tell_blocks(self, parent: Block) -> None:
        """Tell the checkers what is new on the chain, and let the nodes look."""
        tip, blocks = self.ledger.tip, []
        block = tip
        while block is not self._logged:
            blocks.append(block)
            assert block.parent is not None
            block = block.parent
        self._logged = tip
        for block in reversed(blocks):
            for event in block.events:
                self.emit(Logged(self.now_ms, self.ledger.fork, event))
                if isinstance(event, RoundSealed):
                    hazards.note_sealed(self, self._fault_chance)
            if block.transactions:
                self._emit_balance(block.state)
        is_news = any(block.events for block in blocks) or tip.view.phase != parent.view.phase or len(blocks) != 1
        for node in self.nodes:
            if node.is_up and (is_news or node.is_waiting_for_blocks or not node.endpoints[0].is_honest):
                self.at(self.network.poll_ms(), node.look)

    def _emit_balance(self, state: State) -> None:
        held = sum(state.balances.values())
        self.emit(BalanceTaken(self.now_ms, state.minted, held, state.stakes, state.pool, state.owed))

    def _upkeep(self, block: Block) -> None:
        for node in self.nodes:
            if node.is_up:
                node.upkeep.run()

    def read_tip(self, node: Node) -> Block | None:
        """What the node's endpoints show it now.

        Raises:
            Disagreement: two of them, different chains for too long.
        """
        since_ms = self._differing.get(node.number)
        block, self._differing[node.number] = read_together(node.endpoints, self.ledger, self.now_ms, since_ms)
        return block

    def transact(self, node: Node, call: Call, on_end: Callable[[str], None]) -> None:
        """Send a transaction through the node's first endpoint: simulated there, then mined, then its receipt."""
        self.at(self.network.latency_ms(), partial(self._submit, node, node.life, call, on_end))

    def _submit(self, node: Node, life: int, call: Call, on_end: Callable[[str], None]) -> None:
        def tell(reason: str) -> None:
            if node.is_up and node.life == life:
                on_end(reason)

        if not (node.is_up and node.life == life):
            return
        endpoint = node.endpoints[0]
        if endpoint.tip(self.ledger, self.now_ms) is None:
            self.at(PULL_TIMEOUT_MS, partial(tell, "rpc"))
            return
        if endpoint.swallows:
            self.at(4 * RETRANSMIT_MS, partial(tell, "rpc"))
            return
        reason = self.ledger.simulate(node.owner, call, self.now_ms // 1000 + 1)
        if reason:
            self.at(self.network.latency_ms(), partial(tell, reason))
            return
        if hazards.loses_transaction(self, self._fault_chance):
            self.at(RETRANSMIT_MS, partial(self._submit, node, life, call, on_end))
            return
        delay = hazards.transaction_delay(self, self._fault_chance)
        self.ledger.submit(
            node.owner, call, lambda reason: self.at(self.network.latency_ms(), partial(tell, reason)), delay
        )

    # --- what nodes ask of each other ----------------------------------------------------------------------------

    def members_of(self, context: RoundContext) -> tuple[int, ...]:
        """Member number by seat."""
        if id(context) not in self._members:
            numbers = tuple(self.member_of[seat.owner] for seat in context.snapshot.seats)
            self._members[id(context)] = (context, numbers)
        return self._members[id(context)][1]

    def deliver(self, sender: int, receiver: int, envelope: Envelope) -> None:
        """A message on its way."""
        for delay_ms in self.network.plan_delivery(sender, receiver, self.now_ms):
            self.at(delay_ms, partial(self._arrive, sender, receiver, envelope))

    def _arrive(self, sender: int, receiver: int, envelope: Envelope) -> None:
        if not self.network.is_cut(sender, receiver, self.now_ms):
            self.nodes[receiver].receive(sender, envelope)

    def may_say(self, context: RoundContext, sender: int, envelope: Envelope, message: Message) -> bool:
        """Each node speaks for its own seat; contributions are passed on by validators (``daemon/intake.py``)."""
        members = self.members_of(context)
        if members[envelope.seat] == sender:
            return True
        return isinstance(message, Contribution) and any(
            members[seat] == sender for seat in context.assignment.validators
        )

    def pull(
        self,
        node: Node,
        digests: Sequence[bytes],
        sources: Sequence[int],
        finish: Callable[[Sequence[bytes]], None],
        bytes_max: int = 1 << 30,
    ) -> None:
        """Pull blobs: own store first, then each source in order; ``finish`` hears which of them are here then."""
        delay_ms = 2 * self.network.latency_ms()
        if sources and self.network.is_cut(node.number, sources[0], self.now_ms):
            delay_ms += PULL_TIMEOUT_MS
        self.at(delay_ms, partial(self._pulled, node, node.life, tuple(digests), tuple(sources), finish, bytes_max))

    def _pulled(
        self,
        node: Node,
        life: int,
        digests: tuple[bytes, ...],
        sources: tuple[int, ...],
        finish: Callable[[Sequence[bytes]], None],
        bytes_max: int,
    ) -> None:
        if not node.is_up or node.life != life:
            return
        reachable = [self.nodes[source] for source in sources if self._serves(node.number, source)]
        reachable = [source for source in reachable if source.serves(node)]
        found: list[bytes] = []
        for digest in digests:
            if digest not in node.blobs:
                source = self._find(digest, reachable, bytes_max)
                if source is None:
                    continue
                node.blobs[digest] = None
                self.emit(Served(self.now_ms, node.number, source.number, digest))
            found.append(digest)
        finish(found)

    def _serves(self, asker: int, source: int) -> bool:
        return self.nodes[source].is_up and not self.network.is_cut(asker, source, self.now_ms)

    def _find(self, digest: bytes, sources: Sequence[Node], bytes_max: int) -> Node | None:
        """The first source that gives a blob. A lying source gives other bytes: refused, as good as none."""
        if len(self.world.blobs.get(digest, b"")) > bytes_max:
            return None
        for source in sources:
            if digest in source.blobs and not self.network.loses_blob():
                return source
        return None

    def choose_sources(self, node: Node, count: int) -> Sequence[int]:
        """Other members that run, beginning with another one every time."""
        tried = self.random.sample(range(len(self.nodes)), min(2 * count, len(self.nodes)))
        return [other for other in tried if other != node.number and self._serves(node.number, other)][:count]

    def is_model_served(self, node: Node, digest: bytes) -> bool:
        """Whether some reachable member holds this model."""
        return any(
            self._serves(node.number, other.number) and other.model.digest == digest
            for other in self.nodes
            if other is not node
        )

    def tell_reachable(self, node: Node, is_reachable: bool) -> None:
        """Validators see everybody's connections come and go; a trainer's machine has no use for it."""
        for other in self.nodes:
            if other is not node and other.context is not None:
                self.at(NOTICED_MS, partial(self._tell_reachable, other, node, is_reachable))

    def _tell_reachable(self, node: Node, other: Node, is_reachable: bool) -> None:
        context = node.context
        if context is None or context.role_of(node.seat) is not Role.VALIDATOR:
            return
        seats = [seat for seat, number in enumerate(self.members_of(context)) if number == other.number]
        for seat in seats:
            node.tell(ports.SeatReachable(seat, is_reachable))

    def tell_mended(self, cut: Partition) -> None:
        """A partition is over: who began a round behind it is connected again."""
        for node in self.nodes:
            for other in self.nodes:
                if (node.number in cut.side) != (other.number in cut.side) and self._serves(node.number, other.number):
                    self.at(NOTICED_MS, partial(self._tell_reachable, node, other, True))

    def unreachable_seats(self, node: Node) -> list[int]:
        """Seats of the node's round whose nodes it has no connection to."""
        assert node.context is not None
        if node.context.role_of(node.seat) is not Role.VALIDATOR:
            return []
        members = self.members_of(node.context)
        return [s for s, n in enumerate(members) if n != node.number and not self._serves(node.number, n)]

    # --- what nodes need of the world ----------------------------------------------------------------------------

    def note_context(self, node: Node, context: RoundContext) -> None:
        """An honest node begins a round; the first one that does so on the canonical chain tells the checkers."""
        if not node.is_honest or id(context) in self._begun:
            return
        history, number = self.world.history(self.ledger.tip), context.round
        if number < len(history.rounds) and self.world.context(history, number, node.model) is context:
            self._begun.add(id(context))
            randomness = self.world.randomness(context.snapshot.beacon_round)
            self.emit(RoundBegan(self.now_ms, context, self.members_of(context), randomness))

    def events_since(self, opened: RoundOpened, tip: Block) -> list[ChainEvent]:
        """Logs of a branch after a round's opening."""
        blocks = []
        block = tip
        while block.parent is not None and block.number >= opened.at.block:
            blocks.append(block)
            block = block.parent
        return [event for one in reversed(blocks) for event in one.events]

    def train_ms(self) -> int:
        """How long a training takes."""
        return hazards.train_ms(self, self._fault_chance)

    def evaluate_ms(self) -> int:
        """How long judging takes."""
        return 300 + self.network.latency_ms()

    def judge(self, node: Node, context: RoundContext, effect: ports.Evaluate) -> ports.EvaluationFinished:
        """What a member's private data says of aggregates: no to what leads away, and to some by ``disagreement``.

        The model's score is one half in every round, so that nothing closes an alliance early by chance.
        """
        accepted, grades = {}, {}
        before = self.learning.compute_loss(node.number, np.asarray(node.model.parameters[:]))
        for cohort, digest in sorted(effect.aggregates.items()):
            drawn = self.draw_bytes(f"judge {node.number} {context.round} {cohort}")
            accepted[cohort] = int.from_bytes(drawn[:4], "big") / 2**32 >= self.faults.disagreement
            if effect.stage is Stage.TRAINING:
                after = self._measure(node, context, cohort, digest)
                tolerance = context.params.loss_tolerance_micro
                accepted[cohort] = accepted[cohort] and is_acceptable_change(before, after, tolerance)
                grades[cohort] = compute_grade(before, after)
        if effect.stage is Stage.STATISTICS:
            return ports.EvaluationFinished(accepted)
        return ports.EvaluationFinished(accepted, grades, SCORE_MICRO)

    def _measure(self, node: Node, context: RoundContext, cohort: int, digest: bytes) -> float:
        """The loss that the member would have with this cohort's sum; infinite for what is none."""
        manifest = node.machine.manifest if isinstance(node.machine, ValidatorMachine) else None
        blob = self.world.blobs.get(digest)
        if manifest is None:
            return float("inf")
        candidate = self.learning.apply_one(context, node.model, cohort, digest, blob, manifest)
        return float("inf") if candidate is None else self.learning.compute_loss(node.number, candidate)

    def strikes(self, node: Node, effect: ports.Effect) -> bool:
        """Whether the node crashes instead of carrying out this effect."""
        return hazards.strikes_node(self, node, effect, self._fault_chance)
