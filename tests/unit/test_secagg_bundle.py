"""Sealing and opening bundles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nacl import bindings

from p2p_flock.crypto.key_agreement import agree
from p2p_flock.errors import CryptoError
from p2p_flock.params import SEATS_MAX
from p2p_flock.secagg import keys
from p2p_flock.secagg.bundle import (
    BUNDLE_PLAIN_BYTES_MAX,
    _associated,
    holds_all_shares,
    holds_self_mask_share,
    open_bundle,
    seal_bundle,
)
from p2p_flock.secagg.document import compute_columns_height
from p2p_flock.wire.codec import encode
from p2p_flock.wire.messages import HOLDERS_MAX, PROOF_DIGESTS_MAX, Bundle
from tests.unit.secagg_cohort import Cohort, digest_of, make_cohort

COHORT = make_cohort()
CONTEXT = COHORT.context
DEALER, HOLDER = 7, 1
AGREED = agree(COHORT.mask_secrets[DEALER], CONTEXT.member(HOLDER).mask_key)
KEY = keys.derive_bundle_key(CONTEXT, AGREED, DEALER, HOLDER)
SHARES = b"".join(digest_of("share", seat) for seat in CONTEXT.seats)
PROOF = bytes(32 * compute_columns_height(CONTEXT, DEALER))
BUNDLE = Bundle(DEALER, HOLDER, SHARES, PROOF)


def test_open_bundle__gives_what_was_sealed() -> None:
    """No holder could answer for anybody."""
    assert open_bundle(CONTEXT, KEY, DEALER, HOLDER, seal_bundle(CONTEXT, KEY, BUNDLE)) == BUNDLE


def test_bundle_key__differs_by_direction_and_from_the_pair_seed() -> None:
    """An opened pair seed would open the bundles between its two ends."""
    derived = {
        KEY,
        keys.derive_bundle_key(CONTEXT, AGREED, HOLDER, DEALER),
        keys.derive_pair_seed(CONTEXT, AGREED, DEALER, HOLDER),
    }
    assert len(derived) == 3


def test_open_bundle__of_another_pair_is_refused() -> None:
    """A holder would take shares that are meant for another."""
    sealed = seal_bundle(CONTEXT, KEY, BUNDLE)
    for dealer, holder in ((HOLDER, DEALER), (4, HOLDER), (DEALER, 4)):
        with pytest.raises(CryptoError):
            open_bundle(CONTEXT, KEY, dealer, holder, sealed)


def seal_for_pair(plain: bytes) -> bytes:
    """What a malicious dealer can make: the right key and pair around any plaintext."""
    nonce = bytes(24)
    associated = _associated(CONTEXT, DEALER, HOLDER)
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, associated, nonce, KEY)


@pytest.mark.parametrize(
    "plain",
    [
        encode(Bundle(4, HOLDER, SHARES, PROOF)),
        encode(Bundle(DEALER, 4, SHARES, PROOF)),
        encode(BUNDLE) + b"\0",
        encode(BUNDLE)[:-1],
        b"",
        bytes(BUNDLE_PLAIN_BYTES_MAX),
        encode(Bundle(DEALER, HOLDER, SHARES[:-32], PROOF)),
        encode(Bundle(DEALER, HOLDER, SHARES[:-1], PROOF)),
        encode(Bundle(DEALER, HOLDER, SHARES + bytes(32), PROOF)),
        encode(Bundle(DEALER, HOLDER, SHARES, PROOF[32:])),
        encode(Bundle(DEALER, HOLDER, SHARES, PROOF[1:])),
        encode(Bundle(DEALER, HOLDER, SHARES, PROOF + bytes(32))),
    ],
)
def test_open_bundle__bad_plaintext_of_the_dealer_is_refused(plain: bytes) -> None:
    """Well sealed nonsense must be the dealer's fault, not our crash (P7)."""
    with pytest.raises(CryptoError):
        open_bundle(CONTEXT, KEY, DEALER, HOLDER, seal_for_pair(plain))


def test_bundle__the_largest_one_fits() -> None:
    """The largest cohort could not deal at all."""
    largest = Bundle(SEATS_MAX - 1, SEATS_MAX - 2, bytes(32 * HOLDERS_MAX), bytes(32 * PROOF_DIGESTS_MAX))
    assert len(encode(largest)) <= BUNDLE_PLAIN_BYTES_MAX


@pytest.mark.parametrize("cohort", [COHORT, make_cohort(12, 6)], ids=["complete", "sparse"])
def test_bundle__proves_its_shares_and_no_others(cohort: Cohort) -> None:
    """A holder would say a share that its dealer never committed to, and be slashed for it."""
    dealer = cohort.seats[2]
    made = cohort.made[dealer]
    for entry in cohort.made[cohort.seats[0]].secrets.partners:
        if entry.partner != dealer:
            continue
        bundle = open_bundle(cohort.context, entry.bundle_key, dealer, cohort.seats[0], made.bundles[cohort.seats[0]])
        path = made.document.columns_path
        checks = [holds_all_shares]
        if dealer in cohort.context.secrets_held(dealer, cohort.seats[0]):
            checks.append(holds_self_mask_share)
        for check in checks:
            assert check(cohort.context, bundle, made.root, path)
            other = replace(bundle, shares=bytes(32) * (len(bundle.shares) // 32))
            assert not check(cohort.context, other, made.root, path)
            assert not check(cohort.context, replace(bundle, proof=bundle.proof[::-1]), made.root, path)
            assert not check(cohort.context, bundle, digest_of("another root"), path)
            assert not check(cohort.context, bundle, made.root, path + bytes(32))


def test_bundle__the_last_share_is_checked_where_pair_seeds_are_said() -> None:
    """A share of a pair seed would be said unchecked."""
    made = COHORT.made[DEALER]
    bundle = open_bundle(CONTEXT, KEY, DEALER, HOLDER, made.bundles[HOLDER])
    other = replace(bundle, shares=bundle.shares[:-32] + digest_of("wrong"))
    assert holds_self_mask_share(CONTEXT, other, made.root, made.document.columns_path)
    assert not holds_all_shares(CONTEXT, other, made.root, made.document.columns_path)
