"""A check of the head of an HTTP request before any library sees it: the head must be plain HTTP/1.1 (pure).

*The libraries fail with an exception, and without an answer, on bytes above 127 and on some host names, and take
milliseconds for a head of thousands of lines.* What this check leaves out (the syntax of header lines, a header that is
missing) the libraries refuse with an answer.
"""

from __future__ import annotations

import binascii
import re
from collections import Counter

MAX_HEAD_BYTES = 16 * 1024
"""Maximum size of the head of a request, in bytes. It is the limit of the HTTP library, too."""
MAX_FIELDS = 100
"""Maximum number of header fields of a request. *A library takes 6 µs for each of them, in one turn of the loop.*"""
_END = b"\r\n\r\n"
# Every byte that a head may have: the visible characters of ASCII, space, tab, CR and LF (RFC 9110, section 5.5).
_ALLOWED = bytes((*range(0x20, 0x7F), 0x09, 0x0D, 0x0A))
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_ONCE = (
    b"host",
    b"origin",
    b"content-length",
    b"transfer-encoding",
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"upgrade",
)
# A name or an address, perhaps with a port (RFC 9110, section 7.2; RFC 3986, section 3.2.2), but no comma: that would
# be two hosts.
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[0-9A-Za-z._~%!$&'()*+;=-]*)(?::[0-9]*)?")
_CONNECTION = b"connection:"
_HOST_NAME = b"host:"
_KEY_BYTES = 16


class PlainHead:
    """The head of one request, which arrives in pieces. The rules of a subclass can be stricter."""

    __slots__ = ("_end", "data")

    def __init__(self) -> None:
        self.data = b""
        """The bytes that have arrived: the head, and perhaps bytes that follow the head."""
        self._end = -1

    @property
    def complete(self) -> bool:
        """Whether the head has arrived completely."""
        return self._end >= 0

    def feed(self, data: bytes | bytearray) -> str | None:
        """Take the next bytes from the client.

        Returns:
            The reason why the request is refused; None if nothing is wrong so far.
        """
        seen = len(self.data)
        self.data += data
        # Only the new bytes are looked at, and those before that may belong to the same line end. *A head that comes
        # byte by byte would otherwise be searched from its beginning each time.*
        self._end = self.data.find(_END, max(0, seen - len(_END) + 1))
        size = self._end + len(_END) if self.complete else len(self.data)
        if data[: size - seen].translate(None, _ALLOWED):
            return "a byte of the request is not allowed in HTTP"
        if _BARE_LINE_END.search(self.data, max(0, seen - 1), size):
            return "each line of the request must end with CR LF"
        if size > MAX_HEAD_BYTES:
            return f"the head of the request may have {MAX_HEAD_BYTES} bytes"
        return self._fault() if self.complete else None

    def _fault(self) -> str | None:
        """Return the reason why the complete head is refused. Return None if the head is allowed."""
        first, *lines = self.data[: self._end].split(b"\r\n")
        if not first.endswith(b" HTTP/1.1"):
            return "only HTTP/1.1 is served here"
        if len(lines) > MAX_FIELDS:
            return f"the request may have {MAX_FIELDS} header fields"
        if any(line[:1] in {b" ", b"\t"} for line in lines):
            return "a header must stand on one line"
        return self.fault_of(
            [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        )

    def fault_of(self, headers: list[tuple[bytes, bytes]]) -> str | None:
        """Return the reason why the request with these header fields is refused, or None. Names are in lower case."""
        counts = Counter(name for name, _ in headers)
        repeated = next((name for name in _ONCE if counts[name] > 1), None)
        if repeated is not None:
            return f"the header {repeated.decode()} is there more than once"
        if counts[b"content-length"] and counts[b"transfer-encoding"]:
            return "the length of the body is given twice"
        if counts[b"content-length"] and not dict(headers)[b"content-length"].isdigit():
            return "the header content-length is not a number"
        return None


class RequestHead(PlainHead):
    """The head of a request for a WebSocket."""

    __slots__ = ()

    @property
    def host(self) -> bytes:
        """The host, and perhaps the port, at which the client reached the server: the header ``Host``."""
        lines = self.data[: self._end].split(b"\r\n")
        return next((line[len(_HOST_NAME) :].strip() for line in lines if line.lower().startswith(_HOST_NAME)), b"")

    def joined(self) -> bytes:
        """Return the complete head with all its Connection headers in one.

        Several lines mean the same as one list (RFC 9110, section 5.3). *The WebSocket library looks at the last of
        them only, and did not find its word in the others.*
        """
        first, *lines = self.data[: self._end].split(b"\r\n")
        values = [line[len(_CONNECTION) :].strip() for line in lines if line.lower().startswith(_CONNECTION)]
        others = [line for line in lines if not line.lower().startswith(_CONNECTION)]
        return b"\r\n".join((first, *others, _CONNECTION + b" " + b", ".join(values), b"", b""))

    def _fault(self) -> str | None:
        if len(self.data) > self._end + len(_END):
            return "nothing may follow the request before its answer"
        return super()._fault()

    def fault_of(self, headers: list[tuple[bytes, bytes]]) -> str | None:
        """Return the reason why the request with these header fields is refused, or None. Names are in lower case."""
        if (fault := super().fault_of(headers)) is not None:
            return fault
        values = dict(headers)
        if values.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in values:
            return "a request for a WebSocket has no body"
        if not _is_host(values.get(b"host", b"")):
            return "the header host is not a host name"
        key = values.get(b"sec-websocket-key")
        if key is not None and not _is_key(key):
            return f"the header sec-websocket-key must be {_KEY_BYTES} bytes in base64"
        return None


def _is_host(host: bytes) -> bool:
    """Return whether the host has the form that HTTP requires, and the HTTP library can read it.

    The library would raise an exception for a host with an invalid label (a part between two dots).
    """
    if _HOST.fullmatch(host) is None:
        return False
    try:
        host.decode("idna")
    except UnicodeError:
        return False
    return True


def _is_key(key: bytes) -> bool:
    """Return whether the key has the form that RFC 6455 requires (section 4.1, number 7)."""
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False
