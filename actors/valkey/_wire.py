"""A wire: one open connection to a Valkey server, over which many tasks send commands and wait for the answers.

Of the client library coredis only the parser and the packer are used. *Its connection hands each command to a task that
writes, and each push to a task that reads: a commit took five steps of the scheduler, and a push four. Its pool loses a
connection for good with each blocking command that is cancelled, and its default policy repeats commands whose outcome
is not known.*
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import trio
from coredis._packer import Packer
from coredis.constants.resp import DataType
from coredis.exceptions import RedisError
from coredis.parser import NotEnoughData, Parser

from actors.failures import text_of
from actors.loop.boundary import contained
from actors.loop.wakeup import Wakeup
from actors.valkey.errors import CertificateRefused, TlsFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from actors.valkey.address import Address

Command = tuple[bytes | str | float, ...]
"""The name of a command and its arguments."""

_READ_BYTES = 64 * 1024
"""Maximum number of bytes of one read. With more, each read would map memory anew."""

_PACKER = Packer("utf-8")


@attrs.define(eq=False)
class Asked:
    """Commands that were sent at once, and their answers. An error of the server is an answer, as an exception."""

    count: int
    answers: list[Any] = attrs.Factory(list[Any])
    over: trio.Event = attrs.Factory(trio.Event)
    """Set when all answers are there, or when the connection has ended."""
    given_up: float | None = None
    """Time at which the task that had sent the commands was cancelled. None if no task was."""

    @property
    def is_answered(self) -> bool:
        """Whether all answers are there."""
        return len(self.answers) == self.count


class Wire:
    """One open connection. It is used by any task while :meth:`run` runs, and ends with it."""

    def __init__(self, stream: trio.abc.Stream, on_push: Callable[[list[Any]], None] | None) -> None:
        """Make a wire over an open stream, which it closes in the end.

        ``on_push`` gets each message that is not an answer, such as messages of channels. It must not wait.
        """
        self.ended = False
        """Whether the connection has ended."""
        self.over = trio.Event()
        """Set when the connection has ended."""
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._on_push = on_push
        self._parser = Parser()
        self._asked: deque[Asked] = deque()
        self._unsent: list[bytes] = []
        self._is_writing = False
        self._wakeup = Wakeup()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Read and write until the connection ends, or this is cancelled. Then close the stream."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._read)
        finally:
            self.drop()
            await trio.aclose_forcefully(self._stream)

    def drop(self) -> None:
        """End the connection: commands without an answer get none. Idempotent."""
        if not self.ended:
            self.ended = True
            self.over.set()
            self._scope.cancel()
            for asked in self._asked:
                asked.over.set()

    def drop_if_silent(self, seconds: float) -> None:
        """End the connection if the oldest commands have no answer ``seconds`` after their task has given up waiting.

        *A network that loses only the answers would not be noticed by calls that are each cancelled before their own
        time limit. A node's beats are such calls. The server counted them, so the other nodes took the node for well,
        though it was suspended.*
        """
        given_up = self._asked[0].given_up if self._asked else None
        if given_up is not None and trio.current_time() - given_up > seconds:
            self.drop()

    def ask(self, commands: Sequence[Command]) -> Asked:
        """Send commands at once. The result gets their answers.

        Raise ``trio.BrokenResourceError`` if the connection has ended, and nothing was sent.
        """
        asked = Asked(len(commands))
        self.send(commands)
        self._asked.append(asked)
        return asked

    async def answers(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands at once, and return their answers. Raise the first error of the server.

        Raise ``trio.BrokenResourceError`` if the connection ends before the answers.
        """
        asked = self.ask(commands)
        await asked.over.wait()
        if not asked.is_answered:
            raise trio.BrokenResourceError("the connection was lost before the answer")
        for answer in asked.answers:
            if isinstance(answer, Exception):
                raise answer
        return asked.answers

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands that are answered by pushes only, such as ``SUBSCRIBE``. Raises the error of :meth:`ask`."""
        if self.ended:
            raise trio.BrokenResourceError
        chunks = _PACKER.pack_commands([_packable(command) for command in commands])
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        # Bytes keep their order: nothing goes past the bytes that wait.
        if not self._unsent and not self._is_writing and (sent := self._try(data)):
            data = data[sent:]
        if data:
            self._unsent.append(data)
            self._wakeup.wake()

    def _try(self, data: bytes) -> int:
        """Hand bytes to the operating system. Return the number of bytes that the system took."""
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:
            return 0  # the socket is full; or the connection has ended, which the tasks notice

    async def _write(self) -> None:
        while True:
            while self._unsent:
                data, self._unsent, self._is_writing = b"".join(self._unsent), [], True
                try:
                    await self._stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self.drop()
                    return
                self._is_writing = False
            await self._wakeup.wait()

    async def _read(self) -> None:
        try:
            while data := await self._receive():
                self._take(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, RedisError):
            pass  # the stream has ended, or what came was no answer at all
        self.drop()

    async def _receive(self) -> bytes:
        if self._socket is None:
            return bytes(await self._stream.receive_some(_READ_BYTES))
        while True:
            # An answer is rarely there yet: to try first, as the stream does, would be a second call of the system.
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _READ_BYTES)
            except BlockingIOError:
                pass  # woken in vain

    def _take(self, data: bytes) -> None:
        parser, asked = self._parser, self._asked
        parser.feed(data)
        while not isinstance(response := parser.parse(), NotEnoughData):
            kind, value = response
            if kind == DataType.PUSH:
                if self._on_push is not None:
                    contained("the handling of a message of Valkey", self._on_push, value)
            elif asked:
                first = asked[0]
                first.answers.append(value)
                if len(first.answers) == first.count:
                    asked.popleft()
                    first.over.set()


async def connected(address: Address, on_push: Callable[[list[Any]], None] | None) -> Wire:
    """Return a wire to this address. :meth:`Wire.run` must be called in any case.

    Raises:
        OSError: The address cannot be reached.
        TlsFailed: TLS failed.
    """
    if address.path:
        return Wire(await trio.open_unix_socket(address.path), on_push)
    stream = await trio.open_tcp_stream(address.host, address.port)
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1)
    return Wire(await _secured(stream, address.host) if address.tls else stream, on_push)


async def _secured(stream: trio.SocketStream, host: str) -> trio.abc.Stream:
    secured = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(secured)
        raise _tls_failure(error.__cause__) from None
    except BaseException:
        await trio.aclose_forcefully(secured)
        raise
    return secured


def _tls_failure(cause: BaseException | None) -> TlsFailed:
    """Return the error for a handshake that failed because of ``cause``."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message.rstrip(".")
        return CertificateRefused(
            f"its certificate is refused: {reason} (SSL_CERT_FILE can name the certificate of your own authority)"
        )
    return TlsFailed(f"TLS failed: {text_of(cause) if cause else 'the connection was lost'}: is this a port with TLS?")


async def greet(wire: Wire, address: Address) -> None:
    """Begin to talk to the server: version 3 of its protocol, the credentials, the database.

    Raises:
        RedisError: The server refuses, for example the password.
        trio.BrokenResourceError: The connection was lost.
    """
    words: Command = (b"HELLO", 3)
    if address.user or address.password:
        words += ("AUTH", address.user or "default", address.password)
    await wire.answers([words, (b"SELECT", address.database)] if address.database else [words])


def _packable(command: Command) -> tuple[bytes | str | float, ...]:
    name = command[0]
    return command if isinstance(name, bytes) else (str(name).encode(), *command[1:])
