"""Pure functions of the core, remembered by content in a simulation: what seven validators check is checked once.

A thousand simulated nodes decode the same documents, check the same roots and agree on the same pair seeds. While
:func:`sharing` is entered these functions of the core look up what another node has worked out from the same bytes.
Only successes are remembered; tests compare digests of runs with and without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from types import ModuleType
from typing import Any

from p2p_flock.alliance import collecting, history, reference, sealing, trainer, validator
from p2p_flock.alliance import context as round_context
from p2p_flock.crypto import key_agreement, merkle, signing
from p2p_flock.secagg import aggregator, answer, collection, context, contributor, document
from p2p_flock.secagg.context import CohortContext
from p2p_flock.secagg.document import ReceivedDocument
from p2p_flock.testing import contract

ENTRIES_MAX = 100_000  # then all are forgotten: some rounds of a thousand nodes

Function = Callable[..., Any]
Key = Callable[..., object]


def _remember(function: Function, key: Key, keep: bool = False) -> Function:
    """``function`` with its results by ``key``; ``keep``: the arguments live as long, for the key holds their ids."""
    known: dict[object, tuple[Any, object]] = {}

    def look_up(*arguments: Any) -> Any:
        name = key(*arguments)
        found = known.get(name)
        if found is None:
            if len(known) >= ENTRIES_MAX:
                known.clear()
            found = known[name] = (function(*arguments), arguments if keep else None)
        return found[0]

    return look_up


def _share_agreement() -> Function:
    """X25519 gives both ends the same: the second one looks it up under the two public keys."""
    public_of = _remember(key_agreement.mask_public_key, lambda secret: secret)
    known: dict[tuple[bytes, bytes], bytes] = {}
    original = key_agreement.agree

    def agree(secret: bytes, public: bytes) -> bytes:
        own = public_of(secret)
        pair = (own, public) if own < public else (public, own)
        if pair not in known:
            if len(known) >= ENTRIES_MAX:
                known.clear()
            known[pair] = original(secret, public)
        return known[pair]

    return agree


def _share_columns() -> tuple[Function, Function]:
    """A trainer hashes its commitments' tree; of the same tree validators look only at what is above the columns."""
    known: dict[tuple[int, int, bytes], tuple[merkle.Columns, object]] = {}
    original = document.build_columns

    def build(cohort: CohortContext, dealer: int, commitments: bytes) -> merkle.Columns:
        columns = original(cohort, dealer, commitments)
        upper = copy(columns)
        upper._columns = []
        known[id(cohort), dealer, commitments] = (upper, cohort)
        return columns

    def look_up(cohort: CohortContext, dealer: int, commitments: bytes) -> merkle.Columns:
        found = known.pop((id(cohort), dealer, commitments), None)
        return original(cohort, dealer, commitments) if found is None else found[0]

    return build, look_up


def _by_value(*arguments: object) -> object:
    return arguments


def _by_identity(*arguments: object) -> object:
    return tuple(value if isinstance(value, bytes | int) else id(value) for value in arguments)


def _by_announcement(context: object, seat: int, received: ReceivedDocument) -> object:
    return (id(context), seat, received.root, received.document_digest, id(received.document), received.commitments)


def _by_envelopes(context: object, envelopes: tuple[object, ...], refuse: object) -> object:
    return (id(context), *map(id, envelopes))


# (where the name is looked up, name, key, whether the key holds identities)
_SHARED: Sequence[tuple[ModuleType, str, Key, bool]] = (
    (collecting, "decode", _by_value, False),
    (trainer, "decode", _by_value, False),
    (sealing, "decode", _by_value, False),
    (sealing, "_checked_haves", _by_envelopes, True),
    (history, "compute_assignment", _by_value, False),
    (round_context, "compute_assignment", _by_value, False),
    (contract, "compute_assignment", _by_value, False),
    (reference, "compute_assignment", _by_value, False),
    (signing, "eip712_digest", _by_value, False),
    (signing, "eip712_domain_separator", _by_value, False),
    (history, "is_usable_mask_key", _by_value, False),
    (context, "is_usable_mask_key", _by_value, False),
    (document, "is_usable_mask_key", _by_value, False),
    (collection, "validate_root", _by_announcement, True),
    (collecting, "validate_digest", _by_identity, True),
    (answer, "validate_digest", _by_identity, True),
    (trainer, "get_sealed_entries", _by_identity, True),
    (validator, "get_sealed_entries", _by_identity, True),
    (aggregator, "get_sealed_entries", _by_identity, True),
    (answer, "get_sealed_entries", _by_identity, True),
)


@contextmanager
def sharing() -> Iterator[None]:
    """Share from here to the end of the block."""
    replaced: list[tuple[ModuleType, str, object]] = []

    def replace(module: ModuleType, name: str, function: object) -> None:
        replaced.append((module, name, getattr(module, name)))
        setattr(module, name, function)

    memories: dict[tuple[Function, Key], Function] = {}
    try:
        for module, name, key, keep in _SHARED:
            original = getattr(module, name, None)
            if original is None:
                continue  # one that was renamed costs time only
            memory = memories.setdefault((original, key), _remember(original, key, keep))
            replace(module, name, memory)
        needed = _remember(collection._compute_needed, _by_identity, True)
        replace(collection, "_compute_needed", lambda *arguments: dict(needed(*arguments)))  # each strikes off its own
        replace(contributor, "agree", _share_agreement())
        build, look_up = _share_columns()
        replace(contributor, "build_columns", build)
        replace(document, "build_columns", look_up)
        yield
    finally:
        for module, name, original in reversed(replaced):
            setattr(module, name, original)
