"""What a validator holds: whose document counts for whom."""

from __future__ import annotations

import pytest

from p2p_flock.alliance.collecting import Collection
from p2p_flock.wire.messages import Contribution
from tests.unit.alliance_round import make_round


@pytest.mark.parametrize("copyist_first", [True, False])
def test_document__announced_by_another_too(copyist_first: bool) -> None:
    """A trainer that announces another's document would have the validators refuse its owner's contribution."""
    made = make_round()
    low, high, *_ = made.trainers
    copyist, copied = (low, high) if copyist_first else (high, low)
    collection = Collection(made.context)
    honest = Contribution(made.made[copied].root, made.made[copied].document_digest)
    for seat in sorted((copyist, copied)):
        collection.announce(seat, honest)
    culprits = set()
    blobs = made.blobs_of([copied])
    while (stage := collection.open_stage(copied)) is not None:
        wanted = collection.missing(copied)
        faults = collection.add_blobs({digest: blobs[digest] for digest in wanted}, {})
        culprits |= {fault.culprit for fault in faults}
        assert collection.open_stage(copied) != stage
    assert culprits == {copyist}
    assert collection.held_roots() == {copied: honest.root}
    assert collection.open_stage(copyist) is None
