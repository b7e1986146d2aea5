"""The encrypted session under the muxer: libp2p's Noise session with a read-ahead buffer and an account of every byte.

Called by `net/hardening.py`, which wraps each session that the library has secured, and by `net/muxer.py`, which
then is its only reader and its only writer. It changes no byte on the wire: Noise transport messages as in the Noise
specification, section 11.3, framed as in libp2p's `noise/README.md`. It must never write from a task that can be
cancelled by a stream's owner: a cancelled write has consumed a nonce and poisons the connection for ever (facts:
bug 5 of py-libp2p 0.8.1), which is why the muxer owns the one writing task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.security.secure_session import SecureSession

# A Noise message holds at most 65535 bytes, 16 of them the tag (Noise specification, section 3).
PLAINTEXT_BYTES_MAX = 65535 - 16
# One recv() takes up to this much, so that a bulk transfer costs one system call per 16 Noise messages, not 32.
RECEIVE_BYTES_MAX = 1 << 20


@dataclass
class Traffic:
    """Plaintext bytes of all sessions of one host, Noise's handshake and framing not counted."""

    bytes_sent: int = 0
    bytes_received: int = 0
    record_sent: Callable[[bytes], None] | None = None


class BulkSession(SecureSession):
    """A secured session whose reads and writes handle many Noise messages at once.

    Takes over the keys of ``secured``, which must not be used afterwards.
    """

    def __init__(self, secured: SecureSession, traffic: Traffic) -> None:
        super().__init__(
            local_peer=secured.local_peer,
            local_private_key=secured.local_private_key,
            remote_peer=secured.remote_peer,
            remote_permanent_pubkey=secured.remote_permanent_pubkey,
            is_initiator=secured.is_initiator,
            conn=secured.conn,
        )
        # Private names of the pinned version; `tests/net/test_hardening.py` fails if they move.
        packets = secured.conn.read_writer  # type: ignore[attr-defined]
        noise = secured.conn.noise_state.noise_protocol  # type: ignore[attr-defined]
        self.negotiated_security_protocol: str | None = getattr(secured, "negotiated_security_protocol", None)
        self._raw = packets.read_write_closer
        self._encrypt: Callable[[None, memoryview], bytes] = noise.cipher_state_encrypt.encrypt_with_ad
        self._decrypt: Callable[[None, memoryview], bytes] = noise.cipher_state_decrypt.decrypt_with_ad
        self._traffic = traffic
        self._ciphertext = b""
        self._plaintext = bytearray()
        self._broken = False

    async def read_some(self) -> bytearray:
        """All plaintext that is at hand, at least one byte. Cancelling it loses nothing.

        Raises ConnectionClosedError at the end, and whatever the cipher raises on a forged message.
        """
        while not self._plaintext:
            await self._receive()
        taken, self._plaintext = self._plaintext, bytearray()
        return taken

    async def read(self, n: int | None = None) -> bytes:
        """At most ``n`` bytes (all at hand if None), for the protocol negotiation before the muxer takes over."""
        if n == 0:
            return b""
        while not self._plaintext:
            await self._receive()
        size = len(self._plaintext) if n is None or n < 0 else min(n, len(self._plaintext))
        taken = bytes(self._plaintext[:size])
        del self._plaintext[:size]
        return taken

    async def _receive(self) -> None:
        received = await self._raw.read(RECEIVE_BYTES_MAX)
        if not received:
            raise ConnectionClosedError("the peer closed the connection")
        ciphertext_bytes = self._ciphertext + received if self._ciphertext else received
        position, end = 0, len(ciphertext_bytes)
        before = len(self._plaintext)
        with memoryview(ciphertext_bytes) as ciphertext:
            while end - position >= 2:
                body = position + 2
                length = int.from_bytes(ciphertext[position:body], "big")
                if end - body < length:
                    break
                self._plaintext += self._decrypt(None, ciphertext[body : body + length])
                position = body + length
            self._ciphertext = bytes(ciphertext[position:])  # less than one message
        self._traffic.bytes_received += len(self._plaintext) - before

    async def write(self, data: bytes) -> None:
        """Encrypt and send ``data``.

        If it is cancelled half way the session is closed, since its next message could never be decrypted. Raises
        ConnectionClosedError if the session was closed so before.
        """
        if self._broken:
            raise ConnectionClosedError("a cancelled write closed this connection")
        if self._traffic.record_sent is not None:
            self._traffic.record_sent(bytes(data))
        self._traffic.bytes_sent += len(data)
        messages = []
        with memoryview(data) as plaintext:
            for start in range(0, len(plaintext), PLAINTEXT_BYTES_MAX):
                message = self._encrypt(None, plaintext[start : start + PLAINTEXT_BYTES_MAX])
                messages += [len(message).to_bytes(2, "big"), message]
        self._broken = True
        try:
            await self._raw.write(b"".join(messages))
            self._broken = False
        finally:
            if self._broken:
                with trio.CancelScope(shield=True):
                    await self._raw.close()

    async def close(self) -> None:
        """Close the TCP connection."""
        self._broken = True
        await self._raw.close()
