"""The member's mask keys: which secret belongs to the key on chain, and when a fresh one must be registered.

A mask key is spent by being elected trainer. A seal that holds our contribution installs the next one by itself;
otherwise a transaction must (SPEC, "Keys"). Secrets live in the encrypted round-secrets file under a name of their own
and are erased once they are neither installed nor in use.
"""

from __future__ import annotations

import os

from p2p_flock.crypto.key_agreement import mask_public_key
from p2p_flock.store.journal import Record
from p2p_flock.store.secrets import RoundSecrets

KIND = "mask-key"


class MaskKeys:
    """Blocking; called from a thread. ``alliance`` is the alliance contract's address in hex."""

    def __init__(self, secrets: RoundSecrets, alliance: str) -> None:
        self._secrets = secrets
        self._name = f"{alliance}:keys"

    def create(self) -> bytes:
        """Draw a key pair, keep the secret durably, return the public key (32 bytes)."""
        secret = os.urandom(32)
        return self.keep(secret)

    def keep(self, secret: bytes) -> bytes:
        """Keep a secret durably (once), return its public key."""
        public = mask_public_key(secret)
        if self.find(public) is None:
            number = max(self._secrets.rounds(self._name), default=-1) + 1
            self._secrets.save([Record(self._name, number, KIND, public.hex(), secret)])
        return public

    def find(self, public: bytes) -> bytes | None:
        """The secret of a public key, or ``None``: then the key was made elsewhere, or an old backup was restored."""
        held = self._secrets.load_all(self._name)
        return next((record.body for record in held if record.key == public.hex()), None)

    def erase_except(self, keep: frozenset[bytes]) -> None:
        """Forget every secret whose public key is not in ``keep``."""
        held = self._secrets.load_all(self._name)
        kept = {record.round for record in held if bytes.fromhex(record.key) in keep}
        self._secrets.erase(self._name, *{record.round for record in held} - kept)
