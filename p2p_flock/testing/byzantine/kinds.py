"""The ways to be dishonest by the names that an operator of a testnet knows them by: ``scripts/testnet --byzantine``.

One name, one way: a member of a kind follows the protocol in all that its kind does not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2p_flock.testing.byzantine import TRAINERS, VALIDATORS, Coalition, Mind, Villain
from p2p_flock.testing.byzantine.updates import DATA_ATTACKS, UPDATE_ATTACKS


@dataclass(frozen=True, slots=True)
class Kind:
    """One way.

    Attributes:
        trainer, validator: as of :class:`Villain`.
        attack: on its updates, of ``UPDATE_ATTACKS``, where its trainer poisons.
        rows: on its training data, of ``DATA_ATTACKS``; ``None`` for none.
        is_colluding: members of this kind work together.
    """

    trainer: str | None = None
    validator: str | None = None
    attack: str = "signflip5"
    rows: str | None = None
    is_colluding: bool = False

    def make_villain(self, coalition: Coalition | None = None) -> Villain:
        """A member of this kind, with nothing to remember yet."""
        return Villain(self.trainer, self.validator, Mind(self.attack, coalition or Coalition()))


def _hyphenate(name: str) -> str:
    """``BadBundle`` → ``bad-bundle``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


# Those that have a name of their own below, and one that no real network can tell: nobody is asked who asks for a blob.
_NAMED: Final = frozenset({
    "BadDealing", "BadShareInAnswer", "ColludingTrainer", "ColludingValidator", "Framer", "PhantomContribution",
    "Poisoner", "ReplayingTrainer", "ReplayingValidator", "ServesOne",
})  # fmt: skip

KINDS: Final[Mapping[str, Kind]] = {
    **{attack: Kind("Poisoner", attack=attack) for attack in UPDATE_ATTACKS},
    **{rows: Kind(rows=rows) for rows in DATA_ATTACKS},
    "framer": Kind("Framer"),
    "colluder": Kind("ColludingTrainer", "ColludingValidator", is_colluding=True),
    "replayer": Kind("ReplayingTrainer", "ReplayingValidator"),
    "equivocate": Kind("PhantomContribution"),
    "bad-share": Kind("BadShareInAnswer"),
    "bad-dealing": Kind("BadDealing"),
    **{_hyphenate(name): Kind(trainer=name) for name in sorted(set(TRAINERS) - _NAMED)},
    **{_hyphenate(name): Kind(validator=name) for name in sorted(set(VALIDATORS) - _NAMED)},
}
