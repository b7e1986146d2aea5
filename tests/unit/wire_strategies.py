"""Values of every message, drawn from the bounds that its fields declare."""

from __future__ import annotations

import dataclasses
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from p2p_flock.secagg.secrets import RoundSecrets
from p2p_flock.wire.codec import Length, Range
from p2p_flock.wire.messages import MESSAGE_KINDS, Bundle, ContributionDocument, Envelope, Hint, Manifest

KINDS: tuple[type, ...] = (
    Envelope, *MESSAGE_KINDS.values(), ContributionDocument, Bundle, Manifest, Hint, RoundSecrets,
)  # fmt: skip
ITEMS_DRAWN_MAX = 3  # of tuples that may hold thousands


def values_of(kind: type) -> st.SearchStrategy[Any]:
    """Any valid value of a message, long tuples and blobs kept short."""
    hints = get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: _field(hints[field.name]) for field in dataclasses.fields(kind)})


def _field(hint: Any) -> st.SearchStrategy[Any]:
    bounds: Any = None
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)
    if dataclasses.is_dataclass(hint):
        return values_of(hint)  # type: ignore[arg-type]
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(*(values_of(kind) for kind in get_args(hint)))
    if hint is int:
        assert isinstance(bounds, Range)
        return st.integers(bounds.low, bounds.high) | st.sampled_from([bounds.low, bounds.high])
    assert isinstance(bounds, Length)
    if get_origin(hint) is tuple:
        high = max(bounds.low, min(bounds.high, ITEMS_DRAWN_MAX))
        return st.lists(_field(get_args(hint)[0]), min_size=bounds.low, max_size=high).map(tuple)
    high = max(bounds.low, min(bounds.high, 40))
    if hint is str:
        return st.text(st.characters(codec="ascii"), min_size=bounds.low, max_size=high)
    return st.binary(min_size=bounds.low, max_size=high)
