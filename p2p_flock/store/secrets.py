"""Round secrets: mask keys, self masks and pair seeds, which must be gone once a round is final.

Called by the driver. One file per alliance, encrypted under ``secrets.key``, which lies outside the database and must
not be backed up with it: masked vectors are public for ever, so forward secrecy hangs on these files (DESIGN §6).

Every rewrite overwrites the file it replaces. On flash storage and copying file systems old blocks may outlive that,
and whoever finds them needs ``secrets.key`` too: keep both on an encrypted volume. Never writes a secret in the clear,
never into the journal, never into a log.

File: ``"p2pflock-secrets-1" ‖ nonce (24) ‖ XSalsa20-Poly1305`` (NaCl secretbox, Bernstein 2009) of the canonical
encoding of :class:`_SecretsFile`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from nacl.exceptions import CryptoError as NaclCryptoError
from nacl.secret import SecretBox
from nacl.utils import random

from p2p_flock.errors import StoreError, WireError
from p2p_flock.store.files import (
    file_name_of,
    make_private_folder,
    open_temporary,
    sweep_temporary_files,
    sync_folder,
    translate_os_errors,
    write_all,
    write_new,
)
from p2p_flock.store.journal import Record
from p2p_flock.wire.codec import Length, Range, decode, encode

MAGIC = b"p2pflock-secrets-1"
SECRETS_KEY_BYTES = SecretBox.KEY_SIZE
# A round's secrets take under 64 KiB; a file is held for the rounds between two finality points, dozens at most.
SECRETS_FILE_BYTES_MAX = 64 << 20
ENTRIES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class _Entry:
    round: Annotated[int, Range(0, 2**32 - 1)]
    kind: Annotated[str, Length(0, 256)]
    key: Annotated[str, Length(0, 256)]
    body: Annotated[bytes, Length(0, 1 << 20)] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _SecretsFile:
    """The alliance's name is inside, so that one alliance's file cannot be passed off as another's."""

    alliance: Annotated[str, Length(1, 128)]
    entries: Annotated[tuple[_Entry, ...], Length(0, ENTRIES_MAX)]


def create_secrets_key(path: Path) -> None:
    """Write a fresh random key, mode 0600.

    Raises:
        StoreError: the file exists already or the disk refuses.
    """
    write_new(path, random(SECRETS_KEY_BYTES))


class RoundSecrets:
    """The encrypted secrets of all alliances in one folder. Methods block, sync, and may be called from any thread."""

    def __init__(self, folder: Path, key_path: Path) -> None:
        """Open the folder (created where missing) with the key of ``create_secrets_key``.

        Raises:
            StoreError: the key is missing or malformed, or the disk refuses.
        """
        with translate_os_errors(f"read the key {key_path}"):
            key = key_path.read_bytes()
        if len(key) != SECRETS_KEY_BYTES:
            raise StoreError(f"{key_path} has {len(key)} bytes, a secrets key has 32\nrestore the file of this node")
        self._box = SecretBox(key)
        self._folder = folder
        self._lock = threading.Lock()
        make_private_folder(folder)
        with translate_os_errors(f"clean {folder}"):
            sweep_temporary_files(folder)

    def save(self, records: Sequence[Record]) -> None:
        """Add records (of one alliance) to what is held, durably; all or none. An identical one counts as saved.

        Raises:
            StoreError: another body is held under the same (round, kind, key), a bound is broken, or the disk refuses.
        """
        if not records:
            return
        (alliance,) = {record.alliance for record in records}
        with self._lock:
            held = self._read(alliance)
            bodies = {(entry.round, entry.kind, entry.key): entry.body for entry in held}
            fresh: list[_Entry] = []
            for record in records:
                name = (record.round, record.kind, record.key)
                if bodies.setdefault(name, record.body) != record.body:
                    raise StoreError(
                        f"round {record.round}: another secret {record.kind} {record.key!r} is held already\n"
                        "a round's secrets are drawn once; report it as a defect"
                    )
                entry = _Entry(record.round, record.kind, record.key, record.body)
                if entry not in held and entry not in fresh:
                    fresh.append(entry)
            if fresh:
                self._write(alliance, (*held, *fresh))

    def load(self, alliance: str, round_number: int) -> tuple[Record, ...]:
        """The round's secrets in the order of saving; empty where none were saved or they are erased.

        Raises:
            StoreError: the file is damaged or encrypted under another key.
        """
        return tuple(record for record in self.load_all(alliance) if record.round == round_number)

    def load_all(self, alliance: str) -> tuple[Record, ...]:
        """The secrets of all rounds, in the order of saving; one reading of the file.

        Raises:
            StoreError: as in :meth:`load`.
        """
        with self._lock:
            entries = self._read(alliance)
        return tuple(Record(alliance, entry.round, entry.kind, entry.key, entry.body) for entry in entries)

    def rounds(self, alliance: str) -> tuple[int, ...]:
        """Rounds whose secrets are held, ascending.

        Raises:
            StoreError: as in :meth:`load`.
        """
        with self._lock:
            return tuple(sorted({entry.round for entry in self._read(alliance)}))

    def erase(self, alliance: str, *round_numbers: int) -> None:
        """Forget rounds for good, once their settlement or void is final. Erasing what is not held does nothing.

        Raises:
            StoreError: the file is damaged or the disk refuses.
        """
        with self._lock:
            held = self._read(alliance)
            kept = tuple(entry for entry in held if entry.round not in round_numbers)
            if len(kept) != len(held):
                self._write(alliance, kept)

    def _path(self, alliance: str) -> Path:
        return self._folder / f"{file_name_of(alliance)}.secrets"

    def _read(self, alliance: str) -> tuple[_Entry, ...]:
        path = self._path(alliance)
        with translate_os_errors(f"read {path}"):
            try:
                sealed = path.read_bytes()
            except FileNotFoundError:
                return ()
        try:
            if not sealed.startswith(MAGIC):
                raise WireError("not a secrets file")
            content = decode(_SecretsFile, self._box.decrypt(sealed[len(MAGIC) :]), SECRETS_FILE_BYTES_MAX)
            if content.alliance != alliance:
                raise WireError(f"it belongs to {content.alliance}")
        except (NaclCryptoError, ValueError) as error:  # WireError is a ValueError
            raise StoreError(
                f"the round secrets {path} cannot be read: {error}\n"
                "restore secrets.key if it was replaced; else move the file away: the node then sits out its rounds"
            ) from error
        return content.entries

    def _write(self, alliance: str, entries: tuple[_Entry, ...]) -> None:
        try:
            plaintext = encode(_SecretsFile(alliance, entries))
        except WireError as error:
            raise StoreError(f"round secrets of {alliance} break a bound: {error}") from error
        if len(plaintext) > SECRETS_FILE_BYTES_MAX:
            raise StoreError(f"round secrets of {alliance} exceed {SECRETS_FILE_BYTES_MAX} bytes\nerase final rounds")
        _replace_and_overwrite(self._path(alliance), MAGIC + self._box.encrypt(plaintext))


def _replace_and_overwrite(path: Path, data: bytes) -> None:
    """Replace ``path`` durably, then overwrite the bytes of the file that it was.

    In this order, so that a crash in between leaves the new file and, unlinked, an encrypted old one; the other order
    could lose the secrets of a running round.
    """
    with translate_os_errors(f"write {path}"), open_temporary(path.parent) as (descriptor, temporary):
        write_all(descriptor, data)
        os.fsync(descriptor)
        try:
            old = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            old = None
        try:
            temporary.rename(path)
            sync_folder(path.parent)
            if old is not None:
                write_all(old, os.urandom(os.fstat(old).st_size))
                os.fsync(old)
        finally:
            if old is not None:
                os.close(old)
