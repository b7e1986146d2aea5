"""The two suites of a simulation: ``real`` is our cryptography, ``fast`` stands in for its slow part.

``fast`` signs with keyed BLAKE2b, which only the simulation's own registry of secrets can check: same messages, same
sizes, and a forged or altered signature is refused as a real one is. Everything else (key agreement, masks, shares,
commitments) is real in both. Nothing but a simulation can make one: machines take the signer and the recoverer as
arguments, and no code outside ``testing/`` imports this file.
"""

from __future__ import annotations

import hashlib
from functools import partial

from p2p_flock.crypto.signing import SIGNATURE_BYTES, address_of, recover_address, sign
from p2p_flock.errors import CryptoError
from p2p_flock.ports import Signer

_PAD = bytes(SIGNATURE_BYTES - 20 - 32 - 1)


class Suite:
    """Signatures of one simulation; results are remembered by content, for each is checked by many nodes.

    Attributes:
        name: ``real`` or ``fast``.
    """

    def __init__(self, name: str) -> None:
        if name not in ("real", "fast"):
            raise ValueError(f"there is no suite {name!r}: real or fast")
        self.name = name
        self._secrets: dict[bytes, bytes] = {}  # owner -> secret, of the fast suite
        self._recovered: dict[tuple[bytes, bytes], bytes | None] = {}

    def address_of(self, secret: bytes) -> bytes:
        """The owner's address, 20 bytes; from then on the suite knows its signatures."""
        if self.name == "real":
            return address_of(secret)
        owner = hashlib.blake2b(secret, digest_size=20, person=b"owner").digest()
        self._secrets[owner] = secret
        return owner

    def signer(self, secret: bytes) -> Signer:
        """Signs with this owner's secret."""
        return partial(sign, secret) if self.name == "real" else partial(_sign_fast, self.address_of(secret), secret)

    def recover(self, digest: bytes, signature: bytes) -> bytes:
        """As ``crypto.signing.recover_address``.

        Raises:
            CryptoError: nobody signed this.
        """
        key = (digest, signature)
        if key not in self._recovered:
            self._recovered[key] = self._recover(digest, signature)
        owner = self._recovered[key]
        if owner is None:
            raise CryptoError("no public key recovers from the signature")
        return owner

    def _recover(self, digest: bytes, signature: bytes) -> bytes | None:
        if self.name == "real":
            try:
                return recover_address(digest, signature)
            except CryptoError:
                return None
        owner = signature[:20]
        secret = self._secrets.get(owner)
        return owner if secret is not None and _sign_fast(owner, secret, digest) == signature else None


def _sign_fast(owner: bytes, secret: bytes, digest: bytes) -> bytes:
    if len(digest) != 32:
        raise CryptoError("a digest has 32 bytes")
    return owner + hashlib.blake2b(digest, key=secret, digest_size=32).digest() + _PAD + b"\x1b"
