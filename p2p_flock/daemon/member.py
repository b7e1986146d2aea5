"""Membership of this node: which alliance it is in, and joining one. Called by the control handlers and ``node.py``."""

from __future__ import annotations

import json
import logging

import trio

from p2p_flock.alliance.allowlist import NO_ALLOWLIST, compute_allowlist_root, make_allowlist_proof
from p2p_flock.alliance.manifest import TaskManifest
from p2p_flock.chain.alliance_contract import AllianceHandle
from p2p_flock.chain.records import TransactionReceipt
from p2p_flock.crypto.signing import join_digest
from p2p_flock.daemon.mask_keys import MaskKeys
from p2p_flock.daemon.privacy_budget import check_privacy
from p2p_flock.daemon.world import World
from p2p_flock.errors import ChainError, ParameterError, UsageError
from p2p_flock.params import AllianceParams, validate_joinable, validate_params
from p2p_flock.store.files import write_atomic
from p2p_flock.types import AllianceId

logger = logging.getLogger(__name__)

MEMBERSHIP_NAME = "membership.json"


def compute_weight(example_count: int, params: AllianceParams, examples_per_weight: int) -> int:
    """The public bucket of an example count, declared once at join: in the task's steps, capped by ``weight_max``."""
    return max(1, min(params.weight_max, round(example_count / examples_per_weight)))


class Membership:
    """Remembers the alliance across restarts in ``membership.json``."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._path = world.home / MEMBERSHIP_NAME

    def joined(self) -> AllianceId | None:
        """The alliance this node is in.

        Raises:
            UsageError: the file is damaged.
        """
        try:
            text = json.loads(self._path.read_bytes())["alliance"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self._path} is damaged: {error}\nremove it and join the alliance again") from error
        return AllianceId.parse(text)

    def remember(self, alliance_id: AllianceId, stays_away: bool = False) -> None:
        """Take part from now on, also after a restart; ``stays_away``: a suspended seat is not taken again."""
        write_atomic(self._path, json.dumps({"alliance": str(alliance_id), "stays_away": stays_away}).encode())

    def stays_away(self) -> bool:
        """Whether the operator left while the seat was suspended. False where nothing is known."""
        try:
            return bool(json.loads(self._path.read_bytes()).get("stays_away", False))
        except (OSError, ValueError, AttributeError):
            return False

    def forget(self) -> None:
        """Take part no longer."""
        self._path.unlink(missing_ok=True)

    def check_id(self, alliance_id: AllianceId) -> None:
        """The ID belongs to the configured chain and factory.

        Raises:
            UsageError: it does not.
        """
        chain = self._world.config.chain
        if alliance_id.chain_id != chain.chain_id:
            raise UsageError(
                f"{alliance_id} is on chain {alliance_id.chain_id}, this node on {chain.chain_id}.\n"
                "Run another node with chain.rpc_urls and chain.chain_id of that chain."
            )
        if alliance_id.factory != bytes.fromhex(chain.factory.removeprefix("0x")):
            raise UsageError(
                f"{alliance_id} was made by another factory than this node's {chain.factory}.\n"
                "Check the ID, or set chain.factory to the one in the ID."
            )

    def check_terms(self, handle: AllianceHandle, manifest: TaskManifest) -> None:
        """The installed task is exactly the alliance's, and its parameters keep every rule.

        The contract checks 2t > n + c for the seats at the start only; a node never takes part where more seats could
        break it.

        Raises:
            UsageError: name, version or any number of the task differs, or a parameter breaks a rule.
        """
        try:
            validate_params(handle.params)
        except ParameterError as error:
            raise UsageError(f"{error}.\nDo not join this alliance; tell its creator.") from error
        if manifest.digest != handle.terms.manifest_digest:
            raise UsageError(
                f"The alliance trains task {handle.terms.task_name!r} "
                f"with manifest 0x{handle.terms.manifest_digest.hex()}, "
                f"this node has {manifest.task} {manifest.version} with 0x{manifest.digest.hex()}.\n"
                "Install the same version of the task and set learning.task to it."
            )
        check_privacy(handle.params, manifest)

    def check_admission(self, handle: AllianceHandle, now_s: int) -> tuple[bytes, ...]:
        """This account may join now; its proof for the allowlist, from the list that the factory logged.

        Args:
            now_s: the chain's clock, Unix seconds.

        Raises:
            UsageError: it is not on the list, joining is over, or this version cannot do what the alliance asks.
            ChainError: the logged list is not the one of the parameters.
        """
        params, allowlist = handle.params, handle.terms.allowlist
        try:
            validate_joinable(params)
        except ParameterError as error:
            raise UsageError(str(error)) from error
        if params.join_deadline_s and now_s > params.join_deadline_s:
            raise UsageError(
                "Nobody joins this alliance any more: its join deadline has passed.\n"
                "Find another: `p2p-flock alliance list`."
            )
        if params.allowlist_root == NO_ALLOWLIST:
            return ()
        try:
            if compute_allowlist_root(allowlist) != params.allowlist_root:
                raise ChainError("the factory's log holds another allowlist than the alliance; use another endpoint")
            return make_allowlist_proof(allowlist, self._world.chain.address)
        except ParameterError as error:
            raise UsageError(
                f"Only owners on its creator's list may join this alliance: {error}.\n"
                "A list is fixed for ever: ask the creator for a new alliance that lists this account, or join another."
            ) from error

    async def join(
        self,
        handle: AllianceHandle,
        weight: int,
        params_hash: bytes,
        maximum_loss_wei: int,
        allowlist_proof: tuple[bytes, ...],
    ) -> TransactionReceipt:
        """Stake and take a seat. The mask key's secret is on disk before its public key is on chain."""
        keys = MaskKeys(self._world.secrets, handle.domain.contract.hex())
        mask_key = await trio.to_thread.run_sync(keys.create)
        digest = join_digest(handle.domain, self._world.chain.address, mask_key)
        return await handle.join(
            peer_id=self._world.net.peer_id,
            mask_key=mask_key,
            weight=weight,
            params_hash=params_hash,
            maximum_loss=maximum_loss_wei,
            peer_signature=self._world.sign_as_peer(digest),
            allowlist_proof=allowlist_proof,
        )
