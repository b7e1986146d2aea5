"""Answers to the control commands, by ``CONTROL.md``: each asks node or chain and gives plain values."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from p2p_flock.alliance.earnings import compute_earnings
from p2p_flock.alliance.manifest import TaskManifest, decode_manifest
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.contracts import compute_params_hash
from p2p_flock.chain.records import AllianceTerms, RoundPhase, RoundState
from p2p_flock.chain_events import SettledRecord
from p2p_flock.daemon.admission import describe_admission, parse_allowlist
from p2p_flock.daemon.control import Handler
from p2p_flock.daemon.control_messages import TaskResult, params_from_json, params_to_json
from p2p_flock.daemon.control_protocol import JsonObject
from p2p_flock.daemon.history_answer import HistoryAnswers
from p2p_flock.daemon.history_messages import HistoryResult
from p2p_flock.daemon.income import NO_INCOME, compute_income
from p2p_flock.daemon.log_ring import answer_log
from p2p_flock.daemon.member import compute_weight
from p2p_flock.daemon.mesh_answer import answer_mesh
from p2p_flock.daemon.node_messages import LogResult, MeshResult
from p2p_flock.daemon.observability import process_log
from p2p_flock.daemon.privacy_budget import PrivacyBudget, check_privacy
from p2p_flock.daemon.purse import read_rewards
from p2p_flock.daemon.session import topic_of
from p2p_flock.daemon.standing import describe_suspicion
from p2p_flock.daemon.task_answer import OwnTask, OwnTaskAnswers, describe_task
from p2p_flock.daemon.watch_answer import WatchAnswers, describe_standing, ended_rounds, show_round
from p2p_flock.daemon.watch_messages import WatchResult
from p2p_flock.errors import UsageError
from p2p_flock.types import AllianceId

if TYPE_CHECKING:
    from p2p_flock.daemon.node import Node
    from p2p_flock.daemon.session import AllianceSession

ROUNDS_SHOWN = 20
CLOCK_OFFSET_WARN_MS = 3000


class Handlers:
    """One method per command."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._world = node.world
        self._own_task = OwnTaskAnswers(node.worker, node.world.config.learning)
        self._watch_answers = WatchAnswers(node.world, node.started_at)
        self._history_answers = HistoryAnswers(node.world.chain.address)

    def table(self) -> Mapping[str, Handler]:
        return {
            "status": self.status,
            "alliance.create": self.alliance_create,
            "alliance.list": self.alliance_list,
            "alliance.show": self.alliance_show,
            "alliance.watch": self.alliance_watch,
            "alliance.history": self.alliance_history,
            "alliance.join": self.alliance_join,
            "alliance.leave": self.alliance_leave,
            "alliance.withdraw": self.alliance_withdraw,
            "alliance.reactivate": self.alliance_reactivate,
            "node.mesh": self.node_mesh,
            "node.log": self.node_log,
            "task.show": self.task_show,
            "wallet.show": self.wallet_show,
            "wallet.claim": self.wallet_claim,
            "stop": self.stop,
        }

    # --- status ------------------------------------------------------------------------------------------------

    async def status(self, _arguments: JsonObject) -> dict[str, object]:
        world, session = self._world, self._node.session
        state = session.state if session is not None else None
        metrics = session.metrics if session is not None else None
        in_round = session is not None and bool(session.history.rounds) and not session.history.closed
        return {
            "peer_id": world.net.peer_id,
            "address": _hex(world.chain.address),
            "uptime_s": int(time.time() - self._node.started_at),
            "listen_addresses": list(world.net.addresses),
            "connected_peers": len(world.net.connected()),
            "chain_id": world.config.chain.chain_id,
            "block": session.block if session is not None else None,
            "chain_time_s": state.timestamp_s if state is not None else None,
            "alliance": str(session.id) if session is not None else None,
            "task": session.handle.terms.task_name if session is not None else None,
            "seat": _own_seat(session, world.chain.address),
            "round": len(session.history.rounds) - 1 if session is not None and session.history.rounds else None,
            "settled_rounds": state.settled_round_count if state is not None else None,
            "round_count": session.handle.params.round_count if session is not None else None,
            "rounds_behind": session.sync.rounds_behind() if session is not None else None,
            "syncing": session.describe_sync() if session is not None else None,
            **describe_standing(session, world.chain.address),
            "role": metrics.role if metrics is not None and in_round else "none",
            "phase": _phase(session),
            "phase_ends_at_s": _phase_ends_at_s(session, state),
            "model_digest": _hex(session.lineage.model.digest) if session is not None else None,
            "score_before": session.judge.score_before if session is not None else None,
            "score_after": session.judge.score_after if session is not None else None,
            "privacy": session.budget.describe(session.history) if session is not None else None,
            "warnings": self._warnings(session),
            "dashboard": self._node.dashboard.url,
        }

    def _warnings(self, session: AllianceSession | None) -> list[str]:
        found = []
        if not self._world.net.connected():
            found.append("no peer is connected: check net.bootstrap and the firewall")
        if session is not None and session.chain_trouble is not None:
            found.append(f"the chain cannot be followed: {session.chain_trouble}")
        if session is not None and self._world.chain.address in session.history.suspected:
            found.append(f"the seat was suspended: {describe_suspicion(session.history, self._world.chain.address)}")
        if session is not None and session.lineage.disagreement is not None:
            found.append(session.lineage.disagreement)
        if session is not None and abs(self._world.clock.offset_ms) > CLOCK_OFFSET_WARN_MS:
            found.append(f"this machine's clock is {self._world.clock.offset_ms / 1000:.1f} s off the chain's")
        found += self._node.dashboard.warnings
        return found

    async def task_show(self, _arguments: JsonObject) -> TaskResult:
        worker = self._node.require_worker()
        found = describe_task(OwnTask(await worker.manifest(), score_name=worker.score_name))
        assert found is not None
        return found

    # --- alliances ---------------------------------------------------------------------------------------------

    async def alliance_create(self, arguments: JsonObject) -> dict[str, object]:
        worker = self._node.require_worker()
        manifest = decode_manifest((await worker.manifest()).to_bytes())
        if arguments["task"] != manifest.task:
            raise UsageError(
                f"This node has the task {manifest.task!r}, not {arguments['task']!r}.\n"
                "Set learning.task and restart it."
            )
        values = arguments["params"]
        assert isinstance(values, dict)
        params = params_from_json(values, manifest.digest)
        check_privacy(params, manifest)
        pool = _money(arguments["reward_pool"])
        allowlist = parse_allowlist(arguments["allowlist"], params.allowlist_root)
        number = await self._world.chain.create_alliance(params, pool, manifest.task, allowlist)
        handle = await self._world.chain.alliance(number)
        return {
            "alliance": str(self._id_of(number)),
            "contract": _hex(handle.contract),
            "manifest_digest": _hex(manifest.digest),
            "privacy": PrivacyBudget(manifest, params, self._world.chain.address).describe(None),
            "transactions": [],
        }

    async def alliance_list(self, _arguments: JsonObject) -> dict[str, object]:
        entries = []
        for terms in reversed(await self._world.chain.list_alliances()):
            handle = await self._world.chain.alliance(terms.number)
            state = await handle.round_state()
            params = handle.params
            entries.append(
                {
                    "alliance": str(self._id_of(terms.number)),
                    "task": terms.task_name,
                    "task_installed": await self._find_manifest(terms) is not None,
                    "seats": len(await handle.seats()),
                    "seat_count_min": params.seat_count_min,
                    "seat_count_max": params.seat_count_max,
                    "settled_rounds": state.settled_round_count,
                    "round_count": params.round_count,
                    "seat_stake": str(params.seat_stake),
                    "closed": state.phase == RoundPhase.CLOSED,
                    "joined": self._node.session is not None and self._node.session.id.number == terms.number,
                    "admission": describe_admission(handle, self._world.chain.address, state.timestamp_s),
                }
            )
        return {"alliances": entries}

    async def alliance_show(self, arguments: JsonObject) -> dict[str, object]:
        handle = await self._handle(arguments["alliance"])
        session = self._node.session
        joined = session is not None and session.handle.contract == handle.contract
        state, seats = await handle.round_state(), await handle.seats()
        eth, flock = await self._world.chain.balances()
        connected = self._world.net.connected()
        own = [seat for seat in seats if seat.owner == self._world.chain.address]
        opened = state.phase != RoundPhase.WAITING
        manifest, own_task = await self._find_manifest(handle.terms), await self._own_task.look()
        return {
            "alliance": str(self._id_of(handle.domain.alliance)),
            "contract": _hex(handle.contract),
            "task": handle.terms.task_name,
            "task_installed": manifest is not None,
            "about": None if manifest is None else describe_task(own_task),
            "data": self._own_task.describe_data(own_task),
            "manifest_digest": _hex(handle.terms.manifest_digest),
            "params": params_to_json(handle.params),
            "params_hash": _hex(compute_params_hash(handle.params)),
            "admission": describe_admission(handle, self._world.chain.address, state.timestamp_s),
            "privacy": None
            if manifest is None
            else PrivacyBudget(manifest, handle.params, self._world.chain.address).describe(
                session.history if session is not None and joined else None
            ),
            "seats": [
                {
                    "index": seat.index,
                    "owner": _hex(seat.owner),
                    "peer_id": seat.peer_id,
                    "weight": seat.weight,
                    "leaving": seat.leaving,
                    "binding_valid": session is None
                    or not joined
                    or any(e.owner == seat.owner and e.binding_valid for e in session.history.seats),
                    "connected": seat.peer_id in connected,
                }
                for seat in seats
            ],
            "round": state.round if opened else None,
            "settled_rounds": state.settled_round_count,
            "phase": _phase(session) if joined else ("waiting" if not opened else "beacon"),
            "phase_ends_at_s": _phase_ends_at_s(session, state) if joined else None,
            "closed": state.phase == RoundPhase.CLOSED,
            "model_digest": _hex(session.lineage.model.digest) if session is not None and joined else None,
            "own_seat": own[0].index if own else None,
            "own_state": await self._own_state(handle, bool(own and own[0].leaving)),
            "weight_suggested": await self._suggest_weight(handle),
            "eth": str(eth),
            "flock": str(flock),
            "rounds": [show_round(session, record) for record in ended_rounds(session, ROUNDS_SHOWN)]
            if session is not None and joined
            else [],
        }

    async def alliance_watch(self, _arguments: JsonObject) -> WatchResult:
        return self.watch()

    def watch(self) -> WatchResult:
        """The answer to ``alliance.watch``, from memory; also for the metrics."""
        return self._watch_answers.answer(self._node.session, self._warnings(self._node.session))

    async def alliance_history(self, arguments: JsonObject) -> HistoryResult:
        before, limit = arguments["before"], arguments["limit"]
        assert isinstance(before, int | None) and isinstance(limit, int)
        return self._history_answers.answer(self._node.session, before, limit)

    async def alliance_join(self, arguments: JsonObject) -> dict[str, object]:
        handle = await self._handle(arguments["alliance"])
        if self._node.session is not None and not self._node.session.finished.is_set():
            raise UsageError(
                f"This node is in {self._node.session.id} already; a node is in one alliance at a time.\n"
                "Leave that one first, or run another node with another --home."
            )
        worker = self._node.require_worker()
        manifest = await worker.manifest()
        self._node.membership.check_terms(handle, decode_manifest(manifest.to_bytes()))
        proof = self._node.membership.check_admission(handle, (await handle.round_state()).timestamp_s)
        weight = arguments["weight"]
        if weight is None:
            report = await worker.check_data()
            weight = compute_weight(report.train_count, handle.params, manifest.examples_per_weight)
        assert isinstance(weight, int)
        eth, flock = await self._world.chain.balances()
        if flock < handle.params.seat_stake:
            raise UsageError(
                f"A seat stakes {handle.params.seat_stake} FLOCK wei, this account has {flock}.\n"
                f"Send FLOCK to {_hex(self._world.chain.address)} and try again."
            )
        if eth == 0:
            raise UsageError(
                f"This account has no ETH for gas.\nSend a little to {_hex(self._world.chain.address)} and try again."
            )
        alliance_id = self._id_of(handle.domain.alliance)
        params_hash = bytes.fromhex(str(arguments["params_hash"]).removeprefix("0x"))
        maximum_loss = _money(arguments["maximum_loss"])
        receipt = await self._node.membership.join(handle, weight, params_hash, maximum_loss, proof)
        self._node.membership.remember(alliance_id)
        await self._node.open_session(alliance_id)
        stake = await handle.stake()
        return {
            "alliance": str(alliance_id),
            "seat": stake.seat,
            "weight": weight,
            "transactions": [_hex(receipt.hash)],
        }

    async def alliance_leave(self, arguments: JsonObject) -> dict[str, object]:
        handle = await self._handle(arguments["alliance"])
        session, address = self._session_of(handle), self._world.chain.address
        transactions = []
        if session is not None and _was_suspended(session, address):
            # The seat is gone already; leaving means not to take it again.
            session.upkeep.standing.stay_away()
            self._node.membership.remember(session.id, stays_away=True)
        else:
            transactions = [_hex((await handle.leave()).hash)]
        return await self._left(handle, transactions)

    async def alliance_withdraw(self, arguments: JsonObject) -> dict[str, object]:
        handle = await self._handle(arguments["alliance"])
        receipt = await handle.withdraw()
        if self._session_of(handle) is not None:
            self._node.membership.forget()
        return {**await self._left(handle, [_hex(receipt.hash)]), "state": "withdrawn"}

    async def _left(self, handle: AllianceHandle, transactions: list[str]) -> dict[str, object]:
        stake = await handle.stake()
        return {
            "alliance": str(self._id_of(handle.domain.alliance)),
            "state": await self._own_state(handle, True),
            "withdrawable_at_s": stake.release_at_s or None,
            "transactions": transactions,
        }

    async def alliance_reactivate(self, arguments: JsonObject) -> dict[str, object]:
        handle = await self._handle(arguments["alliance"])
        session = self._session_of(handle)
        if session is None:
            raise UsageError("This node is not in that alliance.\nJoin it: `p2p-flock alliance join ID`.")
        receipt_hash = await session.upkeep.standing.reactivate()
        self._node.membership.remember(session.id)
        return {"alliance": str(session.id), "transactions": [_hex(receipt_hash)]}

    def _session_of(self, handle: AllianceHandle) -> AllianceSession | None:
        session = self._node.session
        return session if session is not None and session.handle.contract == handle.contract else None

    # --- node --------------------------------------------------------------------------------------------------

    async def node_mesh(self, _arguments: JsonObject) -> MeshResult:
        session = self._node.session
        return answer_mesh(self._world, session, None if session is None else topic_of(session.id))

    async def node_log(self, arguments: JsonObject) -> LogResult:
        return answer_log(process_log, arguments["after"], arguments["level"], arguments["limit"])

    # --- wallet ------------------------------------------------------------------------------------------------

    async def wallet_show(self, _arguments: JsonObject) -> dict[str, object]:
        eth, flock = await self._world.chain.balances()
        staked = unclaimed = withdrawable = 0
        income, address = NO_INCOME, self._world.chain.address
        session = self._node.session
        if session is not None:
            stake = await session.handle.stake()
            staked = stake.stake_wei
            credit, rewards = await session.handle.credit_wei(), await read_rewards(session, address)
            owed = {record.round: reward for record, reward in rewards}
            unclaimed = credit + sum(owed.values())
            earnings = compute_earnings(session.history, address)
            income = compute_income(session.history, address, earnings, owed, credit)
            now_s = session.state.timestamp_s if session.state is not None else 0
            if stake.release_at_s and now_s >= stake.release_at_s:
                withdrawable = stake.stake_wei
        return {
            "address": _hex(self._world.chain.address),
            "peer_id": self._world.net.peer_id,
            "chain_id": self._world.config.chain.chain_id,
            "eth": str(eth),
            "flock": str(flock),
            "staked": str(staked),
            "unclaimed": str(unclaimed),
            "withdrawable": str(withdrawable),
            "earned_total": str(income.earned),
            "claimed_total": str(income.claimed),
            "gas_spent_wei": str(self._world.gas.spent_wei),
            "gas_since_s": self._world.gas.since_s,
        }

    async def wallet_claim(self, arguments: JsonObject) -> dict[str, object]:
        session = self._node.session
        if arguments["alliance"] is not None:
            handle = await self._handle(arguments["alliance"])
        elif session is not None:
            handle = session.handle
        else:
            return {"claimed": "0", "transactions": []}
        records: list[SettledRecord] = []
        if session is not None and session.handle.contract == handle.contract:
            records = [record for record, _ in await read_rewards(session, self._world.chain.address)]
        before = (await self._world.chain.balances())[1]
        if not records and not await handle.credit_wei():
            return {"claimed": "0", "transactions": []}
        receipts = await handle.claim(records)
        return {
            "claimed": str((await self._world.chain.balances())[1] - before),
            "transactions": [_hex(receipt.hash) for receipt in receipts],
        }

    async def stop(self, _arguments: JsonObject) -> dict[str, object]:
        self._node.stopping.set()
        return {"stopping": True}

    # --- parts -------------------------------------------------------------------------------------------------

    def _id_of(self, number: int) -> AllianceId:
        chain = self._world.config.chain
        return AllianceId(chain.chain_id, bytes.fromhex(chain.factory.removeprefix("0x")), number)

    async def _handle(self, text: object) -> AllianceHandle:
        alliance_id = AllianceId.parse(str(text))
        self._node.membership.check_id(alliance_id)
        return await self._world.chain.alliance(alliance_id.number)

    async def _find_manifest(self, terms: AllianceTerms) -> TaskManifest | None:
        """The installed task's, where it is the alliance's."""
        manifest = (await self._own_task.look()).manifest
        return manifest if manifest is not None and manifest.digest == terms.manifest_digest else None

    async def _suggest_weight(self, handle: AllianceHandle) -> int | None:
        own = await self._own_task.look()
        if own.description is None or own.report is None:
            return None
        return compute_weight(own.report.train_count, handle.params, own.description.examples_per_weight)

    async def _own_state(self, handle: AllianceHandle, leaving: bool) -> str:
        stake = await handle.stake()
        if stake.seated:
            return "leaving" if leaving else "joined"
        if not stake.stake_wei:
            return "none"
        now_s = (await handle.round_state()).timestamp_s
        return "withdrawable" if now_s >= stake.release_at_s else "unbonding"


def _own_seat(session: AllianceSession | None, address: bytes) -> int | None:
    if session is None:
        return None
    return next((index for index, entry in enumerate(session.history.seats) if entry.owner == address), None)


def _was_suspended(session: AllianceSession, address: bytes) -> bool:
    """For either reason, and the seat is gone."""
    history = session.history
    return (address in history.suspended or address in history.suspected) and _own_seat(session, address) is None


def _phase(session: AllianceSession | None) -> str:
    if session is None:
        return "idle"
    if session.history.closed:
        return "closed"
    if not session.history.rounds:
        return "waiting"
    return session.metrics.phase if session.metrics is not None else "beacon"


def _phase_ends_at_s(session: AllianceSession | None, state: RoundState | None) -> int | None:
    if session is None or state is None:
        return None
    match state.phase:
        case RoundPhase.OPEN:
            return state.train_deadline_s if state.timestamp_s < state.train_deadline_s else state.seal_deadline_s
        case RoundPhase.SEALED:
            return state.commit_deadline_s
        case RoundPhase.REVEALING:
            return state.reveal_deadline_s
        case _:
            return None


def _money(text: object) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 40):
        raise UsageError(f"an amount is a whole number of wei as text, not {text!r}")
    return int(text)


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
