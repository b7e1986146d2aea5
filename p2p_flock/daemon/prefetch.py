"""Pulls what an unmasking will need while the seal is still waiting for its confirmations.

Started by the driver for a trainer. All of it is public and content-addressed, and nothing is said or decided here:
when the seal is deep enough the machine asks for the same digests and finds them in the own store. If anything fails
here, the machine pulls it itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from p2p_flock.alliance.context import RoundContext
from p2p_flock.alliance.sealing import decode_sealed_manifest
from p2p_flock.chain_events import RoundSealed
from p2p_flock.errors import RemoteProtocolError, WireError
from p2p_flock.secagg.answer import compute_dealers, get_sealed_entries
from p2p_flock.secagg.bundle import SEALED_BUNDLE_BYTES_MAX
from p2p_flock.secagg.document import get_bundle_digest, validate_document
from p2p_flock.wire.codec import decode
from p2p_flock.wire.messages import DOCUMENT_BYTES_MAX, MANIFEST_BYTES_MAX, ContributionDocument

# (digests, seats to ask in this order, most bytes of each) -> what the own store holds of them now
Pull = Callable[[Sequence[bytes], Sequence[int], int], Awaitable[Mapping[bytes, bytes]]]


async def prefetch_answer(pull: Pull, context: RoundContext, seat: int, sealed: RoundSealed) -> None:
    """Pull manifest, documents and bundles that the answer of ``seat`` is made of; gives up silently (see module)."""
    validators = context.assignment.validators
    found = await pull((sealed.manifest_digest,), validators, MANIFEST_BYTES_MAX)
    try:
        manifest = decode_sealed_manifest(context, found.get(sealed.manifest_digest, b""), sealed.survivors)
    except WireError:
        return
    cohort = context.cohorts[context.assignment.cohort_of(seat)]
    sealed_entries = get_sealed_entries(cohort, manifest)
    dealers = compute_dealers(cohort, seat, sealed_entries)
    entries = [sealed_entries[dealer] for dealer in dealers]
    sources = (*validators, *(entry.seat for entry in entries))
    documents = await pull([entry.document_digest for entry in entries], sources, DOCUMENT_BYTES_MAX)
    bundles: list[bytes] = []
    for data in documents.values():
        try:
            document = decode(ContributionDocument, data, DOCUMENT_BYTES_MAX)
            validate_document(cohort, document.seat, document)
        except (WireError, RemoteProtocolError):
            continue
        if document.seat in dealers:
            bundles.append(get_bundle_digest(cohort, document, seat))
    if bundles:
        await pull(bundles, sources, SEALED_BUNDLE_BYTES_MAX)
