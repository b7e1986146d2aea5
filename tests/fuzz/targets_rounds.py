"""Targets of the round's machines: what a dishonest member signs, publishes and deals, in the hands of honest ones.

Signatures, digests and keys are right here, as a member can make them; the content is hostile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

from nacl import bindings

from p2p_flock.alliance.validator import ValidatorMachine
from p2p_flock.chain_events import LogPosition, RoundSealed
from p2p_flock.crypto.key_agreement import agree
from p2p_flock.crypto.suite import sha256
from p2p_flock.errors import CryptoError, ParameterError, RemoteProtocolError, WireError
from p2p_flock.ports import BlobsFetched, Effect, Event, Fetch, MessageReceived, SealObserved, TimePassed
from p2p_flock.secagg import keys
from p2p_flock.secagg.aggregator import Aggregator, UnmaskingReceived
from p2p_flock.secagg.bundle import _associated, holds_all_shares, holds_self_mask_share, open_bundle
from p2p_flock.secagg.document import ReceivedDocument, validate_root
from p2p_flock.secagg.opening import prepare_opening
from p2p_flock.wire.codec import decode, encode
from p2p_flock.wire.messages import (
    MESSAGE_KINDS,
    Bundle,
    Contribution,
    ContributionDocument,
    Envelope,
    Message,
    SelfMaskShare,
    Unmasking,
)
from tests.fuzz.target import Form, Target
from tests.fuzz.targets_wire import contributed_round, real_messages
from tests.unit.alliance_round import NOW_MS, SEALED_AT_S
from tests.unit.secagg_cohort import Cohort, make_cohort

BYTES_MAX = 1 << 20
SEALED_MS = SEALED_AT_S * 1000
DEALER, HOLDER = 7, 1
SIGNED_KINDS = tuple(sorted(MESSAGE_KINDS))
SEALED_SELECTOR = 133  # a multiple of the number of kinds, with the highest bit set


# --- a validator -----------------------------------------------------------------------------------------------


def tell(machine: ValidatorMachine, events: Sequence[Event], now_ms: int) -> list[Effect]:
    """Tell it all, then let time pass until it has looked at everything."""
    effects = [effect for event in events for effect in machine.handle(event, now_ms)]
    for later_ms in (200, 1000, 2000):
        effects += machine.handle(TimePassed(), now_ms + later_ms)
    return effects


def message_from(seat: int, kind: int, body: bytes) -> MessageReceived | None:
    """What the driver hands over where ``seat`` signed these bytes; None where they are refused before."""
    made = contributed_round()
    try:
        message = decode(MESSAGE_KINDS[kind], body, BYTES_MAX)
    except WireError:
        return None
    # Nothing behind the gossip checks looks at the signature again, but for evidence, which keeps it.
    return MessageReceived(Envelope(kind, made.context.round, seat, body, bytes(65)), message)


def run_validator(data: bytes) -> bool:
    """First byte: kind of message, whether the round is sealed. Second: which seat says it."""
    made = contributed_round()
    if len(data) < 2:
        return False
    kind = SIGNED_KINDS[data[0] % len(SIGNED_KINDS)]
    is_trainers = MESSAGE_KINDS[kind] in (Contribution, Unmasking)
    seats = made.trainers if is_trainers else made.validators
    event = message_from(seats[data[1] % len(seats)], kind, data[2:])
    if event is None:
        return False
    machine = made.validator(0, made.trainers[: 2 + data[1] % 4])
    now_ms = NOW_MS
    if data[0] & 0x80:
        now_ms = SEALED_MS
        manifest = {made.seal().manifest_digest: encode(made.manifest())}
        tell(machine, (SealObserved(made.sealed()), BlobsFetched("manifest", manifest)), now_ms)
    tell(machine, (event, event), now_ms)
    return True


def validator_seeds() -> Sequence[bytes]:
    made = contributed_round()
    messages: list[Message] = [
        *real_messages(),
        Unmasking(made.seal().digest, (SelfMaskShare(made.trainers[0], bytes(32)),)),
    ]
    numbers = {kind: SIGNED_KINDS.index(number) for number, kind in MESSAGE_KINDS.items()}
    return [bytes((numbers[type(m)] + top, 1)) + encode(m) for m in messages for top in (0, SEALED_SELECTOR)]


def run_contribution(data: bytes) -> bool:
    """A trainer announces any bytes as its document, or honest ones with any commitments; they are fetched."""
    made = contributed_round()
    seat = made.trainers[0]
    honest = made.made[seat]
    if data[:1] == b"\1":
        document = dataclasses.replace(honest.document, commitments_digest=sha256(data[1:]))
        blobs = {sha256(encode(document)): encode(document), sha256(data[1:]): data[1:]}
        said = Contribution(honest.root, sha256(encode(document)))
    else:
        blobs = {sha256(data[1:]): data[1:], sha256(honest.commitments): honest.commitments}
        said = Contribution(honest.root, sha256(data[1:]))
    machine = made.validator(0, made.trainers[1:3])
    effects = list(machine.handle(made.say(seat, said), NOW_MS))
    for _ in range(3):
        pulls = [effect for effect in effects if isinstance(effect, Fetch)]
        events = [BlobsFetched(pull.tag, {d: blobs[d] for d in pull.digests if d in blobs}) for pull in pulls]
        effects = tell(machine, events, NOW_MS)
    try:
        document = decode(ContributionDocument, data[1:], BYTES_MAX)
        validate_root(made.context.cohorts[0], seat, ReceivedDocument(said.root, said.document_digest, document, b""))
    except (WireError, RemoteProtocolError):
        return any(isinstance(effect, Fetch) for effect in effects)
    return True


def contribution_seeds() -> Sequence[bytes]:
    honest = contributed_round().made[contributed_round().trainers[0]]
    return [b"\0" + encode(honest.document), b"\1" + honest.commitments]


def run_sealed_manifest(data: bytes) -> bool:
    """Q validators seal any bytes; a validator takes them up."""
    made = contributed_round()
    digest = sha256(data)
    at = LogPosition(1, 0, SEALED_AT_S, bytes(32))
    sealed = RoundSealed(
        at, made.context.round, 0, bytes(32), made.context.seed, digest, (31,), (0, 1), (bytes(65),) * 2
    )
    machine = made.validator(0)
    tell(machine, (SealObserved(sealed),), SEALED_MS)
    tell(machine, (BlobsFetched("manifest", {digest: data}),), SEALED_MS)
    tell(
        machine,
        (made.say(made.trainers[0], Unmasking(bytes(32), (SelfMaskShare(made.trainers[0], bytes(32)),))),),
        SEALED_MS,
    )
    return machine.manifest is not None


def sealed_manifest_seeds() -> Sequence[bytes]:
    made = contributed_round()
    return [encode(made.manifest()), encode(made.manifest(made.trainers[:3]))]


# --- secure aggregation ------------------------------------------------------------------------------------------


@cache
def honest_cohort() -> Cohort:
    """Five members that have contributed."""
    return make_cohort()


@cache
def bundle_key() -> bytes:
    cohort = honest_cohort()
    agreed = agree(cohort.mask_secrets[DEALER], cohort.context.member(HOLDER).mask_key)
    return keys.derive_bundle_key(cohort.context, agreed, DEALER, HOLDER)


def run_bundle(data: bytes) -> bool:
    """First byte: sealed bytes as they come, or any plaintext under the right key with the dealer's own path."""
    cohort = honest_cohort()
    context, made = cohort.context, cohort.made[DEALER]
    sealed = data[1:]
    if data[:1] == b"\1":
        nonce = bytes(24)
        encrypt = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt
        sealed = nonce + encrypt(data[1:], _associated(context, DEALER, HOLDER), nonce, bundle_key())
    try:
        bundle = open_bundle(context, bundle_key(), DEALER, HOLDER, sealed)
    except CryptoError:
        return False
    # Neither says anything of the other: the first needs the whole path, the second its upper part and every share.
    holds_self_mask_share(context, bundle, made.root, made.document.columns_path)
    holds_all_shares(context, bundle, made.root, made.document.columns_path)
    return True


def bundle_seeds() -> Sequence[bytes]:
    cohort = honest_cohort()
    honest = cohort.made[DEALER].bundles[HOLDER]
    opened = open_bundle(cohort.context, bundle_key(), DEALER, HOLDER, honest)
    return [b"\0" + honest, b"\1" + encode(opened), b"\1" + encode(Bundle(DEALER, HOLDER, bytes(160), bytes(64)))]


def run_unmasking(data: bytes) -> bool:
    """A survivor's answer as it comes, to a validator that has two honest ones; then the opening is prepared."""
    cohort = honest_cohort()
    try:
        unmasking = decode(Unmasking, data, BYTES_MAX)
    except WireError:
        return False
    machine = _gathering()
    try:
        machine.handle(UnmaskingReceived(cohort.seats[2], unmasking))
    except (RemoteProtocolError, ParameterError) as error:
        raise AssertionError("a machine answers in effects, it does not raise") from error
    return True


def _gathering() -> Aggregator:
    cohort = honest_cohort()
    return cohort.sealed_aggregator(cohort.seats[:4], cohort.seats[:2])


def unmasking_seeds() -> Sequence[bytes]:
    cohort = honest_cohort()
    return [encode(cohort.unmasking(seat, cohort.seats[:4])) for seat in cohort.seats[1:4]]


def run_dealing(data: bytes) -> bool:
    """First bytes: whose secret. The rest: any shares that the dealer commits to and deals; the secrets are rebuilt."""
    cohort = honest_cohort()
    context = cohort.context
    of = cohort.seats[data[0] % 5] if data else cohort.seats[0]
    shares = tuple(data[1 + 32 * place : 33 + 32 * place].ljust(32, b"\0") for place in range(context.holder_count))
    hostile = cohort.with_dealing(DEALER, of, shares, commit=bool(data[0] & 1) if data else True)
    sealed = [seat for seat in cohort.seats if seat not in (of,) or of == DEALER]
    documents, said = {}, {}
    for seat in sealed:
        made = hostile.made[seat]
        documents[seat] = ReceivedDocument(made.root, made.document_digest, made.document, made.commitments)
    for seat in sealed:
        held = hostile.dealing(seat)
        for secret_of, joined in held.items():
            places = {h: joined[32 * p : 32 * p + 32] for p, h in enumerate(context.holders(secret_of)) if h in sealed}
            said[seat, secret_of] = places
    for place, holder in enumerate(context.holders(of)):
        if holder in sealed:
            said[DEALER, of][holder] = shares[place]
    result = prepare_opening(context, documents, said, cohort.sum_bound)
    return result is not None


def dealing_seeds() -> Sequence[bytes]:
    cohort = honest_cohort()
    return [bytes([index]) + cohort.dealing(DEALER)[seat] for index, seat in enumerate(cohort.seats)]


TARGETS = (
    Target("validator", run_validator, validator_seeds, Form.MSGPACK, 4096, prefix_bytes=2, weight=0.05),
    Target("contribution", run_contribution, contribution_seeds, Form.MSGPACK, 8192, prefix_bytes=1, weight=0.02),
    Target("sealed-manifest", run_sealed_manifest, sealed_manifest_seeds, Form.MSGPACK, 4096, weight=0.01),
    Target("bundle", run_bundle, bundle_seeds, Form.MSGPACK, 2048, prefix_bytes=1, weight=0.3),
    Target("unmasking", run_unmasking, unmasking_seeds, Form.MSGPACK, 4096, weight=0.06),
    Target("dealing", run_dealing, dealing_seeds, Form.WORDS, 512, prefix_bytes=1, weight=0.02),
)
