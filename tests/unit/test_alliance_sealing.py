"""Who survives, what a seal says, and which proposals a validator signs: nobody left out, nobody added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from p2p_flock.alliance.sealing import (
    ENVELOPE_HEAD_BYTES_MAX,
    MANIFEST_ENTRY_BYTES_MAX,
    check_proposal,
    choose_haves,
    compute_survivors,
    decode_sealed_manifest,
    is_signed_by_quorum,
    make_have,
    make_seal,
    read_have,
    survivors_bitmap,
)
from p2p_flock.errors import DropReason, RemoteProtocolError, WireError
from p2p_flock.ports import BlobsFetched, Report, Send
from p2p_flock.testing.alliance import digest_of, make_setting
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import (
    KIND_OF_MESSAGE,
    Envelope,
    Have,
    Manifest,
    ManifestEntry,
    SealProposal,
    SealSignature,
)
from tests.unit.alliance_round import NOW_MS, TRAINED_MS, ContributedRound, make_round
from tests.unit.reason_triggers import round_cohort

ROUND = make_round()
CONTEXT = ROUND.context
FIRST, SECOND, THIRD = ROUND.validators
ROOTS = ROUND.roots
ONE, TWO = ROUND.trainers[:2]


def without(*seats: int) -> dict[int, bytes]:
    return {seat: root for seat, root in ROOTS.items() if seat not in seats}


# --- Have --------------------------------------------------------------------------------------------------------


def test_have__round_trip() -> None:
    """A validator would be understood to hold other contributions than it does."""
    for roots in (ROOTS, {}, without(ONE), {TWO: ROOTS[TWO]}):
        assert read_have(CONTEXT, make_have(CONTEXT, roots)) == roots


@pytest.mark.parametrize(
    "have",
    [
        Have(b"", ()),
        Have(b"\x01\x00", (bytes(32),)),
        Have(b"\x20", (bytes(32),)),  # a sixth trainer of five
        Have(b"\x03", (bytes(32),)),
        Have(b"\x01", (bytes(32), bytes(32))),
    ],
    ids=["no bitmap", "bitmap too long", "bit beyond the last trainer", "root missing", "root too many"],
)
def test_have__refuses(have: Have) -> None:
    """A bitmap would be read as one of other trainers."""
    with pytest.raises(WireError):
        read_have(CONTEXT, have)


# --- survivors ---------------------------------------------------------------------------------------------------


def test_survivors__are_those_that_a_quorum_holds() -> None:
    """One validator could add or remove a trainer."""
    assert compute_survivors(CONTEXT, {FIRST: ROOTS, SECOND: ROOTS, THIRD: without(ONE)}, frozenset()) == ROOTS
    assert compute_survivors(CONTEXT, {FIRST: ROOTS, SECOND: without(ONE)}, frozenset()) == without(ONE)


def test_survivors__need_the_same_root_at_a_quorum() -> None:
    """Two validators that hold different contributions of one trainer would count as both holding it."""
    other = {**ROOTS, ONE: bytes(32)}
    assert compute_survivors(CONTEXT, {FIRST: ROOTS, SECOND: other}, frozenset()) == without(ONE)
    assert compute_survivors(CONTEXT, {FIRST: ROOTS, SECOND: other, THIRD: other}, frozenset()) == other


def test_survivors__without_quarrels() -> None:
    """Masks that cannot cancel would garble the cohort's sum: the liar goes, its honest neighbors stay."""
    haves = {FIRST: ROOTS, SECOND: ROOTS}
    liar = frozenset({(min(ONE, other), max(ONE, other)) for other in ROOTS if other != ONE})
    assert compute_survivors(CONTEXT, haves, liar) == without(ONE)
    pair = frozenset({(min(ONE, TWO), max(ONE, TWO))})
    assert compute_survivors(CONTEXT, haves, pair) == without(ONE, TWO), "nobody can tell who of two lies"


def test_survivors__quarrels_count_among_the_candidates_only() -> None:
    """A trainer that shows one validator another contribution, which quarrels, would split the validators."""
    haves = {FIRST: ROOTS, SECOND: ROOTS}
    pair = frozenset({(min(ONE, TWO), max(ONE, TWO))})
    assert compute_survivors(CONTEXT, haves, pair, ROOTS) == without(ONE, TWO)
    assert compute_survivors(CONTEXT, haves, pair, {**ROOTS, ONE: bytes(32)}) == ROOTS
    assert compute_survivors(CONTEXT, haves, pair, without(ONE)) == ROOTS


def test_survivors__below_the_threshold_are_none() -> None:
    """A cohort would be sealed that can never be opened."""
    few = {seat: ROOTS[seat] for seat in ROUND.trainers[:2]}
    assert compute_survivors(CONTEXT, {FIRST: few, SECOND: few}, frozenset()) == {}


def test_survivors__have_a_mask_key() -> None:
    """Validators could seal a trainer whose key is spent."""
    keyless = make_setting(keyless=[ONE]).context
    haves: dict[int, Mapping[int, bytes]] = {FIRST: ROOTS, SECOND: ROOTS}
    assert ONE not in compute_survivors(keyless, haves, frozenset())


# --- manifest and seal -------------------------------------------------------------------------------------------


def test_manifest__must_be_the_sealed_survivors() -> None:
    """A trainer would answer for others than those whom the chain holds."""
    manifest = ROUND.manifest()
    bits = survivors_bitmap(CONTEXT, manifest)
    assert bits == (0b11111,) and decode_sealed_manifest(CONTEXT, encode(manifest), bits) == manifest
    entries = manifest.entries
    bad = {
        "another round": replace(manifest, round=2),
        "out of order": replace(manifest, entries=(entries[1], entries[0], *entries[2:])),
        "twice": replace(manifest, entries=(entries[0], *entries)),
        "a validator": replace(manifest, entries=(replace(entries[0], seat=FIRST), *entries[1:])),
        "one too few": replace(manifest, entries=entries[1:]),
    }
    for name, wrong in bad.items():
        with pytest.raises(WireError, match="manifest"):
            decode_sealed_manifest(CONTEXT, encode(wrong), bits)
        assert name
    with pytest.raises(WireError):
        decode_sealed_manifest(CONTEXT, encode(manifest) + b"\x00", bits)


def test_seal__digest_covers_view_and_content() -> None:
    """Two different seals would have one name."""
    digests = {
        make_seal(CONTEXT, view, ROUND.manifest(seats)).digest for view in (0, 1) for seats in (None, without(ONE))
    }
    assert len(digests) == 4


def test_quorum__needs_distinct_validators() -> None:
    """A trainer would unmask for a seal that fewer than Q validators signed."""
    seal = ROUND.seal()
    signatures = tuple(ROUND.setting.signer(seat)(seal.signing_digest) for seat in ROUND.validators)
    assert is_signed_by_quorum(CONTEXT, seal.signing_digest, (0, 1), signatures[:2])
    assert is_signed_by_quorum(CONTEXT, seal.signing_digest, (0, 1, 2), signatures)
    bad: list[tuple[tuple[int, ...], tuple[bytes, ...]]] = [
        ((0,), signatures[:1]),
        ((0, 0), (signatures[0], signatures[0])),
        ((1, 0), (signatures[1], signatures[0])),
        ((0, 1), (signatures[1], signatures[0])),
        ((0, 3), signatures[:2]),
        ((0, 1), signatures),
        ((0, 1), (signatures[0], bytes(65))),
        ((), ()),
    ]
    for positions, wrong in bad:
        assert not is_signed_by_quorum(CONTEXT, seal.signing_digest, positions, wrong)
    assert not is_signed_by_quorum(CONTEXT, bytes(32), (0, 1), signatures[:2])


# --- proposals ---------------------------------------------------------------------------------------------------


def test_proposal__that_follows_from_the_haves_is_good() -> None:
    """No seal would ever be signed."""
    seal, survivors = check_proposal(CONTEXT, FIRST, ROUND.proposal(), frozenset())
    assert survivors == ROOTS and seal == ROUND.seal()
    view_one, _ = check_proposal(CONTEXT, SECOND, ROUND.proposal(view=1), frozenset())
    assert view_one == ROUND.seal(view=1)


def changed_entry(**changes: bytes) -> bytes:
    manifest = ROUND.manifest()
    return encode(Manifest(1, (replace(manifest.entries[0], **changes), *manifest.entries[1:])))


OTHER_KIND = CONTEXT.seal_envelope(SECOND, SealSignature(0, bytes(32), bytes(65)), ROUND.setting.signer(SECOND))
MALFORMED = CONTEXT.seal_envelope(SECOND, Have(b"\x20", (bytes(32),)), ROUND.setting.signer(SECOND))
HAVES = (ROUND.have(FIRST), ROUND.have(SECOND))
FEW = {seat: ROOTS[seat] for seat in ROUND.trainers[:2]}
BAD_PROPOSALS = {
    "not the view's leader": ROUND.proposal(view=1),
    "no such view": ROUND.proposal(view=3),
    "too few Have messages": ROUND.proposal(haves=HAVES[:1]),
    "one validator twice": ROUND.proposal(haves=(HAVES[0], HAVES[0])),
    "another message as Have": ROUND.proposal(haves=(HAVES[0], OTHER_KIND)),
    "a Have that cannot be read": ROUND.proposal(haves=(HAVES[0], MALFORMED)),
    "a forged Have": ROUND.proposal(haves=(HAVES[0], replace(HAVES[1], signature=bytes(65)))),
    "a Have of another round": ROUND.proposal(haves=(HAVES[0], replace(HAVES[1], round=2))),
    "a survivor omitted": ROUND.proposal(manifest=encode(ROUND.manifest(without(ONE)))),
    "a survivor added": ROUND.proposal(haves=(ROUND.have(FIRST, without(ONE)), HAVES[1])),
    "another root": ROUND.proposal(manifest=changed_entry(root=bytes(32))),
    "another round": ROUND.proposal(manifest=encode(replace(ROUND.manifest(), round=2))),
    "no manifest": ROUND.proposal(manifest=b"\xc0"),
    "no viable cohort": ROUND.proposal(
        haves=(ROUND.have(FIRST, FEW), ROUND.have(SECOND, FEW)), manifest=encode(ROUND.manifest(FEW))
    ),
}


@pytest.mark.parametrize("name", BAD_PROPOSALS)
def test_proposal__refused_names_the_leader(name: str) -> None:
    """A leader could leave out whom it dislikes, or add whom nobody holds."""
    with pytest.raises(RemoteProtocolError) as caught:
        check_proposal(CONTEXT, FIRST, BAD_PROPOSALS[name], frozenset())
    assert (caught.value.culprit, caught.value.reason) == (FIRST, DropReason.BAD_PROPOSAL)


def test_proposal__carries_what_fits() -> None:
    """The leader of a large alliance would end on its own proposal."""
    few = {seat: (ROUND.have(seat), ROOTS) for seat in ROUND.validators}
    assert choose_haves(CONTEXT, few) == tuple(sorted(ROUND.validators))
    roots = {seat: bytes(32) for seat in range(512)}
    body = encode(Have(bytes(64), tuple(roots.values())))
    envelope = Envelope(3, 2**32 - 1, 4095, body, bytes(65))
    many = {seat: (envelope, roots if seat else {}) for seat in range(64)}
    assert len(encode(envelope)) - len(body) <= ENVELOPE_HEAD_BYTES_MAX
    entry = ManifestEntry(4095, bytes(32), bytes(32), bytes(32))
    assert len(encode(Manifest(1, (entry,) * 512))) <= 512 * MANIFEST_ENTRY_BYTES_MAX
    large = replace(CONTEXT, assignment=replace(CONTEXT.assignment, cohorts=(tuple(range(512)),)))
    chosen = choose_haves(large, many)
    assert 33 <= len(chosen) < 64 and 0 not in chosen, "a quorum, the emptiest left out"
    proposal = ROUND.proposal(0, [envelope] * len(chosen), encode(Manifest(1, (entry,) * 512)))
    encode(Envelope(4, 2**32 - 1, 4095, encode(proposal), bytes(65)))


def test_proposal__that_ignores_a_quarrel_is_refused() -> None:
    """A leader could seal two trainers whose masks do not cancel."""
    with pytest.raises(RemoteProtocolError):
        check_proposal(CONTEXT, FIRST, ROUND.proposal(), frozenset({(min(ONE, TWO), max(ONE, TWO))}))


def test_proposal__with_an_unseen_quarrel_blames_nobody() -> None:
    """P5: an honest leader drops two that quarrel; who does not hold both documents would call it a liar."""
    dropped = ROUND.proposal(manifest=encode(ROUND.manifest(without(ONE, TWO))))
    for roots, reason in ((ROOTS, DropReason.BAD_PROPOSAL), (without(ONE), DropReason.PAIR_SEED_MISMATCH)):
        with pytest.raises(RemoteProtocolError) as caught:
            check_proposal(CONTEXT, FIRST, dropped, frozenset(), roots)
        assert caught.value.reason is reason


@pytest.mark.parametrize("position", [0, 1])
def test_proposal__of_an_equivocators_other_contribution(position: int) -> None:
    """P5: a trainer shows one validator a contribution that quarrels, and has honest leaders blamed for it; or, where
    that validator leads, costs the round a view."""
    cohort = round_cohort().with_pair_commitment(ONE, TWO, digest_of("lie"))
    lie = ContributedRound(ROUND.setting)
    lie.__dict__["made"] = cohort.made
    machine = ROUND.validator(position, announced=[seat for seat in ROUND.trainers if seat != ONE])
    machine.handle(lie.say(ONE, lie.contribution(ONE)), NOW_MS)
    machine.handle(BlobsFetched("", lie.blobs_of([ONE])), NOW_MS)
    assert machine.collection.quarrels() == {(min(ONE, TWO), max(ONE, TWO))}
    others = [seat for seat in ROUND.validators if seat != ROUND.validators[position]]
    effects = [e for seat in others for e in machine.handle(ROUND.say(seat, make_have(CONTEXT, ROOTS)), TRAINED_MS)]
    if position == 1:
        haves = [ROUND.have(seat) for seat in others]
        effects += machine.handle(ROUND.say(FIRST, ROUND.proposal(haves=haves)), TRAINED_MS)
    blamed = {effect.culprit for effect in effects if isinstance(effect, Report) and effect.culprit is not None}
    assert not blamed & set(ROUND.validators)
    assert not [e for e in effects if isinstance(e, Send) and e.envelope.kind == KIND_OF_MESSAGE[SealProposal]]


def test_envelope__type_of_the_proposal_is_bounded() -> None:
    """The list of Have messages could grow without end."""
    haves: tuple[Envelope, ...] = (HAVES[0],) * 65
    with pytest.raises(WireError):
        encode(ROUND.proposal(haves=haves))
