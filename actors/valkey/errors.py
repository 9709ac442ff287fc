"""The errors of calls to a Valkey server. Pure."""

from __future__ import annotations

from actors.errors import LogUnavailable


class NotSent(LogUnavailable):
    """The call did not reach the server, or the server could not begin it. Nothing was done."""


class Unanswered(LogUnavailable):
    """The call was sent, and no answer came. It is not known whether the server has done it."""


class Refused(LogUnavailable):
    """The server answered with an error. ``code`` is the error's first word, and ``text`` is its whole text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Moved(Refused):
    """In a Valkey Cluster, another server has this slot now: ``host`` and ``port``."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__("MOVED", f"MOVED {host}:{port}")
        self.host = host
        self.port = port


class TlsFailed(OSError):
    """TLS with the server failed, so there is no connection."""


class CertificateRefused(TlsFailed):
    """The certificate of the server is not valid, not of its name, or of an authority that is not trusted."""
