"""Whether this node takes part in a round, and with which machine. Called by the session when the roles are known.

The mask key of the seat is also its proof of continuity: backups leave secrets out, so a node that was restored from
one holds no secret for the key that the chain names, cannot know what it signed in this round, and sits it out in any
role (P8). A seat without a usable key (spent by an election, no fresh one counts yet) has no such proof either, so the
rule is one: no secret, no part. What it said before it was restored it said under older keys; the fresh one that upkeep
registers counts from the next round on, in which it has said nothing yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.history import AllianceHistory
from p2p_flock.alliance.model import Model
from p2p_flock.alliance.trainer import TrainerMachine
from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.daemon.mask_keys import MaskKeys
from p2p_flock.ports import Signer
from p2p_flock.types import Role, Seat

logger = logging.getLogger(__name__)

RoundMachine = TrainerMachine | ValidatorMachine
MakeMachine = Callable[[RoundContext, int, Signer, bytes, AllianceHistory, Model], RoundMachine]
"""(round, seat, signer, secret of the seat's mask key, the log so far, the model before it) → the seat's machine.

A node has :func:`make_honest_machine`; a testnet gives another one to members that are to cheat."""


def make_honest_machine(
    context: RoundContext,
    seat: int,
    sign: Signer,
    mask_secret_key: bytes,
    history: AllianceHistory,
    model: Model,
) -> RoundMachine:
    """The machine of the seat's role; the protocol's, which needs neither log nor model."""
    if context.role_of(seat) is Role.VALIDATOR:
        return ValidatorMachine(context, seat, sign)
    return TrainerMachine(context, seat, sign, mask_secret_key)


def find_mask_secret(context: RoundContext, seat: Seat, keys: MaskKeys) -> bytes | None:
    """The secret that this node takes part with, or ``None``: sit this round out. Reads the secrets file, so it blocks.

    Raises:
        StoreError: the secrets file is damaged or encrypted under another key.
    """
    role = context.role_of(seat.index)
    if seat.mask_key is None:
        logger.warning(
            "round %d: aside as %s: this seat's mask key is spent and no fresh one counts yet",
            context.round,
            role.value,
        )
        return None
    secret = keys.find(seat.mask_key)
    if secret is None:
        logger.error(
            "round %d: aside as %s: this node does not hold the secret of its seat's mask key. Was it restored from an "
            "old backup? What it signed in this round it cannot know. A fresh key is being registered; it takes part "
            "again when that counts, from the next round on. Run no second node under this account",
            context.round,
            role.value,
        )
        return None
    return secret
