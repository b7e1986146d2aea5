"""What a survivor says after the seal: the privacy of everybody in the cohort."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_flock.errors import DropReason
from p2p_flock.secagg.answer import Answered, Refusal, Refused, compute_answer
from p2p_flock.secagg.dealing import compute_dealing, get_share
from p2p_flock.secagg.document import compute_columns_height
from p2p_flock.wire.messages import Bundle, Manifest, ManifestEntry, PairSeedShare, SelfMaskShare
from tests.unit.secagg_cohort import SEAL, Cohort, digest_of, make_cohort

COHORT = make_cohort()
SEALED = (1, 4, 7, 10)
DROPOUT = 13


def ask(cohort: Cohort, seat: int, manifest: Manifest, without: tuple[int, ...] = ()) -> Answered | Refused:
    documents = {dealer: document for dealer, document in cohort.documents().items() if dealer not in without}
    bundles = {dealer: bundle for dealer, bundle in cohort.bundles_for(seat).items() if dealer not in without}
    return compute_answer(cohort.context, cohort.made[seat].secrets, SEAL, manifest, documents, bundles)


def answered(answer: Answered | Refused) -> Answered:
    assert isinstance(answer, Answered), answer
    return answer


def owners_of(answer: Answered) -> set[int]:
    return {item.owner for item in answer.unmasking.items}


def test_answer__says_exactly_what_opening_needs() -> None:
    """One item less and the sum stays closed; one more and somebody's update may be opened."""
    for seat in SEALED:
        items = answered(ask(COHORT, seat, COHORT.manifest(SEALED))).unmasking.items
        said = [(type(item), item.owner, getattr(item, "dropout", None)) for item in items]
        wanted = [
            entry for owner in SEALED for entry in ((SelfMaskShare, owner, None), (PairSeedShare, owner, DROPOUT))
        ]
        assert said == wanted


def test_answer__never_says_a_whole_secret_nor_both_sides_of_anybody() -> None:
    """P1: a self mask and the pair seeds of one trainer together open its update."""
    secrets = {COHORT.made[seat].secrets.self_mask for seat in COHORT.seats}
    secrets |= {n.pair_seed for seat in COHORT.seats for n in COHORT.made[seat].secrets.neighbors}
    for seat in SEALED:
        items = answered(ask(COHORT, seat, COHORT.manifest(SEALED))).unmasking.items
        assert not secrets & {item.share for item in items}
        self_masks = {item.owner for item in items if isinstance(item, SelfMaskShare)}
        pair_seeds = {item.dropout for item in items if isinstance(item, PairSeedShare)}
        assert self_masks.isdisjoint(pair_seeds)


def test_answer__of_its_own_secrets_says_its_own_share_only() -> None:
    """Nobody opens its own mask: with other seals' answers that could open it alone."""
    for seat in SEALED:
        secrets = COHORT.made[seat].secrets
        dealing = compute_dealing(
            COHORT.context, seat, secrets.self_mask, {n.neighbor: n.pair_seed for n in secrets.neighbors}
        )
        own = [item for item in ask_items(seat) if item.owner == seat]
        right = [get_share(COHORT.context, dealing[secret_of], secret_of, seat) for secret_of in (seat, DROPOUT)]
        assert [item.share for item in own] == right


def ask_items(seat: int) -> tuple[SelfMaskShare | PairSeedShare, ...]:
    return answered(ask(COHORT, seat, COHORT.manifest(SEALED))).unmasking.items


@pytest.mark.parametrize(
    ("sealed", "refusal"),
    [
        ((4, 7, 10, 13), Refusal.NOT_SEALED),
        ((1, 4), Refusal.TOO_FEW_SURVIVORS),
        ((), Refusal.NOT_SEALED),
    ],
)
def test_answer__bad_survivor_set_is_refused(sealed: tuple[int, ...], refusal: Refusal) -> None:
    """A dropout would help open a sum without it, or a sum would be opened over too few."""
    manifest = Manifest(4, COHORT.manifest(sealed).entries)
    assert ask(COHORT, 1, manifest) == Refused(refusal, ())


def test_answer__collusion_bound_raises_the_least_number_of_survivors() -> None:
    """With c colluders among them, c + 2 survivors are two honest ones (P1 asks for three)."""
    cohort = make_cohort(7, 5, collusion_bound=2)
    assert ask(cohort, 1, cohort.manifest((1, 4, 7, 10))) == Refused(Refusal.TOO_FEW_SURVIVORS, ())
    answered(ask(cohort, 1, cohort.manifest((1, 4, 7, 10, 13))))


def test_answer__bad_manifest_is_refused() -> None:
    """Another round's manifest, or one that names a trainer twice, means something else than it seems to."""
    manifest = COHORT.manifest(SEALED)
    assert ask(COHORT, 1, replace(manifest, round=5)) == Refused(Refusal.WRONG_ROUND, ())
    doubled = replace(manifest, entries=(*manifest.entries, manifest.entries[0]))
    assert ask(COHORT, 1, doubled) == Refused(Refusal.WRONG_ROUND, ())


def forge(entry: ManifestEntry, field: str) -> ManifestEntry:
    forged = digest_of("forged")
    match field:
        case "root":
            return replace(entry, root=forged)
        case "document_digest":
            return replace(entry, document_digest=forged)
        case _:
            return replace(entry, next_mask_key=forged)


@pytest.mark.parametrize("field", ["root", "document_digest", "next_mask_key"])
def test_answer__foreign_contribution_under_its_own_name_is_refused(field: str) -> None:
    """Somebody else's vector under our seat would be opened with our shares."""
    manifest = COHORT.manifest(SEALED)
    entries = tuple(forge(entry, field) if entry.seat == 1 else entry for entry in manifest.entries)
    assert ask(COHORT, 1, Manifest(4, entries)) == Refused(Refusal.FOREIGN_ROOT, ())


def test_answer__ignores_survivors_of_other_cohorts() -> None:
    """The manifest lists all cohorts; seats of another one must not count here."""
    manifest = COHORT.manifest((1, 4))
    foreign = tuple(replace(entry, seat=entry.seat + 100) for entry in COHORT.manifest((7, 10)).entries)
    assert ask(COHORT, 1, Manifest(4, manifest.entries + foreign)) == Refused(Refusal.TOO_FEW_SURVIVORS, ())


def test_answer__missing_dealer_is_left_out_and_named() -> None:
    """One dealer that hides its bundle would silence the answers for everybody."""
    answer = answered(ask(COHORT, 1, COHORT.manifest(SEALED), without=(7,)))
    assert owners_of(answer) == {1, 4, 10}
    assert [(fault.culprit, fault.reason) for fault in answer.faults] == [(7, DropReason.NO_CONTRIBUTION)]


def test_answer__document_under_another_root_is_left_out() -> None:
    """Shares would be checked against commitments that nobody sealed."""
    other = COHORT.with_pair_commitment(7, 4, digest_of("other"))
    documents = {**COHORT.documents(), 7: other.made[7].document}
    answer = answered(
        compute_answer(
            COHORT.context,
            COHORT.made[1].secrets,
            SEAL,
            COHORT.manifest(SEALED),
            documents,
            COHORT.bundles_for(1),
        )
    )
    assert owners_of(answer) == {1, 4, 10}
    assert [(fault.culprit, fault.reason) for fault in answer.faults] == [(7, DropReason.BAD_ROOT)]


def test_answer__bytes_that_are_not_the_bundle_do_not_blame_the_dealer() -> None:
    """Whoever serves wrong bytes could have an honest dealer punished (P5)."""
    bundles = {**COHORT.bundles_for(1), 7: COHORT.made[7].bundles[4]}
    answer = answered(
        compute_answer(
            COHORT.context, COHORT.made[1].secrets, SEAL, COHORT.manifest(SEALED), COHORT.documents(), bundles
        )
    )
    assert owners_of(answer) == {1, 4, 10}
    assert [(fault.culprit, fault.reason) for fault in answer.faults] == [(7, DropReason.NO_CONTRIBUTION)]


def bad_bundles() -> dict[str, tuple[Cohort, DropReason]]:
    dealer, holder = 7, 1
    made = COHORT.made[dealer]
    shares = {of: digest_of("share", of) for of in COHORT.seats}

    def bundle(bundle_dealer: int, bundle_holder: int, secrets_of: tuple[int, ...]) -> bytes:
        parts = b"".join(shares[of] for of in secrets_of)
        proof = bytes(32 * compute_columns_height(COHORT.context, dealer))
        return COHORT.seal_bundle_for(dealer, holder, Bundle(bundle_dealer, bundle_holder, parts, proof))

    cases = {
        "tampered": (made.bundles[holder][:-1] + b"\0", DropReason.BAD_BUNDLE),
        "short": (made.bundles[holder][:40], DropReason.BAD_BUNDLE),
        "empty": (b"", DropReason.BAD_BUNDLE),
        "long": (bytes(5000), DropReason.BAD_BUNDLE),
        "for_another": (made.bundles[4], DropReason.BAD_BUNDLE),
        "names_another_holder": (bundle(dealer, 4, COHORT.seats), DropReason.BAD_BUNDLE),
        "names_another_dealer": (bundle(4, holder, COHORT.seats), DropReason.BAD_BUNDLE),
        "lacks_a_share": (bundle(dealer, holder, COHORT.seats[:-1]), DropReason.BAD_BUNDLE),
        "holds_one_too_many": (bundle(dealer, holder, (*COHORT.seats, 1)), DropReason.BAD_BUNDLE),
        "wrong_shares": (bundle(dealer, holder, COHORT.seats), DropReason.BAD_BUNDLE),
    }
    return {name: (COHORT.with_bundle(dealer, holder, data), reason) for name, (data, reason) in cases.items()}


@pytest.mark.parametrize("name", bad_bundles())
def test_answer__bad_bundle_drops_its_dealer_only(name: str) -> None:
    """A malicious dealer would stop the whole cohort, or its wrong share be passed on under our name."""
    cohort, reason = bad_bundles()[name]
    answer = answered(ask(cohort, 1, cohort.manifest(SEALED)))
    assert owners_of(answer) == {1, 4, 10}
    assert [(fault.culprit, fault.reason) for fault in answer.faults] == [(7, reason)]
    assert owners_of(answered(ask(cohort, 4, cohort.manifest(SEALED)))) == set(SEALED)


def test_answer__share_off_its_commitment_names_the_dealer() -> None:
    """The holder would be blamed for the dealer's lie."""
    shares = tuple(digest_of("off", n) for n in range(5))
    cohort = COHORT.with_dealing(7, 7, shares, commit=False)
    answer = answered(ask(cohort, 1, cohort.manifest(SEALED)))
    assert owners_of(answer) == {1, 4, 10}
    assert [(fault.culprit, fault.reason) for fault in answer.faults] == [(7, DropReason.BAD_BUNDLE)]


@pytest.mark.parametrize(("liar", "victim"), [(7, 1), (7, 10)])
def test_answer__sealed_pair_that_disagrees_is_never_answered(liar: int, victim: int) -> None:
    """Keys substituted to a trainer would open its update if only the validators looked away."""
    cohort = COHORT.with_pair_commitment(liar, victim, digest_of("substituted"))
    answer = ask(cohort, 1, cohort.manifest(SEALED))
    assert isinstance(answer, Refused)
    assert answer.reason is Refusal.PAIR_SEED_MISMATCH
    assert {fault.culprit for fault in answer.faults} == {liar, victim} - {1}
    # The quarrel of somebody who is not sealed concerns nobody.
    answered(ask(cohort, 1, cohort.manifest(tuple(seat for seat in COHORT.seats if seat != liar))))
