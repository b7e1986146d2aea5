"""The encrypted session under the muxer: libp2p's Noise session on the bare socket, with an account of every byte.

Called by `net/hardening.py`, which wraps each session that the library has secured, and by `net/muxer.py`, which
then is its only reader and its only writer. It changes no byte on the wire: Noise transport messages as in the Noise
specification, section 11.3, framed as in libp2p's `noise/README.md`. It must never write from a task that can be
cancelled by a stream's owner: a cancelled write has consumed a nonce and poisons the connection for ever (facts:
bug 5 of py-libp2p 0.8.1), which is why the muxer owns the one writing task.

What a bulk transfer costs is copies and calls: so one system call takes many Noise messages, ciphertext is decrypted
in place, and messages go to the kernel and to the streams as the cipher made them. Measured with
`p2p_flock.bench.transfer`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.security.secure_session import SecureSession

# A Noise message holds at most 65535 bytes, 16 of them the tag (Noise specification, section 3).
PLAINTEXT_BYTES_MAX = 65535 - 16
# One system call takes up to this much: 4 Noise messages. 1 MiB costs twice as much, since it leaves the cache between.
RECEIVE_BYTES_MAX = 256 * 1024
# The kernel may hold so much that is not on its way yet before it stops us. Trio's 16 KiB would wake us for each half
# message on a fast link; at 1 MB/s this delays a small message behind a bulk transfer by a quarter of a second.
UNSENT_BYTES_MAX = 256 * 1024
WRITEV_BUFFERS_MAX = 64  # of one system call; POSIX promises 16, Linux, the BSDs and macOS take 1024

Buffer = bytes | bytearray | memoryview


@dataclass
class Traffic:
    """Plaintext bytes of all sessions of one host, Noise's handshake and framing not counted."""

    bytes_sent: int = 0
    bytes_received: int = 0
    record_sent: Callable[[bytes], None] | None = None
    # Where all sessions receive ciphertext: nothing is kept in it while anybody waits.
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(RECEIVE_BYTES_MAX)), repr=False)


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
        self._socket: trio.socket.SocketType = self._raw.stream.stream.socket
        if hasattr(trio.socket, "TCP_NOTSENT_LOWAT"):
            self._socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
        self._encrypt: Callable[[None, Buffer], bytes] = noise.cipher_state_encrypt.encrypt_with_ad
        self._decrypt: Callable[[None, memoryview], bytes] = noise.cipher_state_decrypt.decrypt_with_ad
        self._traffic = traffic
        self._ciphertext = b""  # the beginning of a message
        self._plaintext: list[bytes] = []
        self._broken = False

    async def read_some(self) -> list[bytes]:
        """The plaintexts of all Noise messages at hand, at least one. Cancelling it loses nothing.

        Raises ConnectionClosedError at the end, and whatever the cipher raises on a forged message.
        """
        while not self._plaintext:
            await self._receive()
        taken, self._plaintext = self._plaintext, []
        return taken

    async def read(self, n: int | None = None) -> bytes:
        """At most ``n`` bytes (all at hand if None), for the protocol negotiation before the muxer takes over."""
        if n == 0:
            return b""
        joined = b""
        while not joined:
            joined = b"".join(await self.read_some())
        size = len(joined) if n is None or n < 0 else min(n, len(joined))
        if size < len(joined):
            self._plaintext = [joined[size:]]
        return joined[:size]

    async def _receive(self) -> None:
        await trio.lowlevel.checkpoint()
        while (received := self._receive_now()) is None:
            await self._wait(trio.lowlevel.wait_readable)
        if not received:
            raise ConnectionClosedError("the peer closed the connection")

    def _receive_now(self) -> bool | None:
        """Decrypt what the kernel holds; false at the end, None if it holds nothing yet."""
        scratch = self._traffic.scratch
        end = len(self._ciphertext)
        scratch[:end] = self._ciphertext
        try:
            received = os.readv(self._socket.fileno(), [scratch[end:]])
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionClosedError(f"the connection broke: {error}") from error
        position, end = 0, end + received
        while end - position >= 2:
            body = position + 2
            length = scratch[position] << 8 | scratch[position + 1]
            if end - body < length:
                break
            self._plaintext.append(self._decrypt(None, scratch[body : body + length]))
            self._traffic.bytes_received += len(self._plaintext[-1])
            position = body + length
        self._ciphertext = bytes(scratch[position:end])
        return bool(received)

    async def _wait(self, wait: Callable[..., Awaitable[None]]) -> None:
        try:
            await wait(self._socket)
        except (trio.ClosedResourceError, OSError, ValueError) as error:  # ValueError: closed before we waited
            raise ConnectionClosedError("we closed the connection") from error

    async def write(self, data: bytes) -> None:
        """As `write_all`, of one part."""
        await self.write_all([data])

    async def write_all(self, parts: Sequence[Buffer]) -> None:
        """Encrypt and send the parts one after the other.

        If it is cancelled half way the session is closed, since its next message could never be decrypted. Raises
        ConnectionClosedError if the session was closed so before.
        """
        if self._broken:
            raise ConnectionClosedError("a cancelled write closed this connection")
        if self._traffic.record_sent is not None:
            self._traffic.record_sent(b"".join(parts))
        self._traffic.bytes_sent += sum(map(len, parts))
        messages: list[Buffer] = []
        for plaintext in split_messages(parts):
            message = self._encrypt(None, plaintext)
            messages += [len(message).to_bytes(2, "big"), message]
        self._broken = True
        try:
            await self._send(messages)
            self._broken = False
        finally:
            if self._broken:
                with trio.CancelScope(shield=True):
                    await self._raw.close()

    async def _send(self, buffers: list[Buffer]) -> None:
        await trio.lowlevel.checkpoint()
        while buffers:
            try:
                sent = os.writev(self._socket.fileno(), buffers[:WRITEV_BUFFERS_MAX])
            except BlockingIOError:
                await self._wait(trio.lowlevel.wait_writable)
                continue
            except OSError as error:
                raise ConnectionClosedError(f"the connection broke: {error}") from error
            done = 0
            while done < len(buffers) and sent >= len(buffers[done]):
                sent -= len(buffers[done])
                done += 1
            del buffers[:done]
            if sent:
                buffers[0] = memoryview(buffers[0])[sent:]

    async def close(self) -> None:
        """Close the TCP connection."""
        self._broken = True
        await self._raw.close()


def split_messages(parts: Sequence[Buffer]) -> Iterator[Buffer]:
    """The parts as plaintexts of Noise messages, all full but the last; a part is copied only where two must be joined.

    Yields nothing for no bytes.
    """
    pending: list[Buffer] = []
    pending_bytes = 0
    for part in parts:
        view = memoryview(part)
        position = 0
        while position < len(view):
            size = min(len(view) - position, PLAINTEXT_BYTES_MAX - pending_bytes)
            pending.append(view[position : position + size])
            pending_bytes += size
            position += size
            if pending_bytes == PLAINTEXT_BYTES_MAX:
                yield pending[0] if len(pending) == 1 else b"".join(pending)
                pending, pending_bytes = [], 0
    if pending:
        yield b"".join(pending)
