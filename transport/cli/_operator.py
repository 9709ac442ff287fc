"""The operator's interface of a running server: the requests of commands to its inspector, below ``/inspect/api/``."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

import attrs
import orjson

from actors import ConfigError
from transport.cli._options import add_settings_option, settings_in
from transport.cli._terminal import openable
from transport.settings import Settings

if TYPE_CHECKING:
    import argparse

SECONDS = 3.0
"""Maximum time for the connection, and for each part of the answer, in seconds."""
_PREFIX = "/inspect/api/"
_TOKEN_HELP = "give --operator-token, or GREENROOM_OPERATOR_TOKEN in the environment"  # noqa: S105 - no token
_UNAUTHORIZED, _NOT_FOUND = 401, 404


def add_operator_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that ask a running server."""
    url = "the address of the server's pages (default: the settings host and http_port)"
    parser.add_argument("--url", help=url)
    parser.add_argument("--operator-token", metavar="TOKEN", help="the server's setting operator_token")
    ca = "authority of the server's certificate, in PEM (default: those that the system trusts)"
    parser.add_argument("--ca", metavar="FILE", help=ca)
    add_settings_option(parser)


@attrs.frozen
class Operator:
    """The inspector of a running server."""

    url: str
    """The address of the server's pages."""
    token: str | None = attrs.field(default=None, repr=False)
    ca: str | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Operator:
        """Return the inspector that the options name, and by default that of the settings' server."""
        settings = Settings.load().overridden(settings_in(options))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        scheme = "http" if settings.tls_cert is None else "https"
        url = options.url or openable(f"{scheme}://{host}:{settings.http_port}/")
        token = options.operator_token or getattr(settings, "operator_token", None)
        return cls(url, token, options.ca)

    def get(self, name: str, **arguments: object) -> dict[str, Any]:
        """Return the answer to a question. Arguments that are None are left out. Raise the errors of :meth:`post`."""
        query = urlencode({key: value for key, value in arguments.items() if value is not None})
        return self._ask("GET", f"{name}?{query}" if query else name, None)

    def post(self, name: str, seconds: float | None = None, /, **arguments: object) -> dict[str, Any]:
        """Return the result of an action, which may take up to ``seconds``, by default :data:`SECONDS`.

        Raises:
            ConfigError: The server cannot be reached, does not answer in time, or refuses the request. The message says
                which, and what to do.
        """
        return self._ask("POST", name, orjson.dumps(arguments), seconds)

    def _ask(self, method: str, name: str, body: bytes | None, seconds: float | None = None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "X-Requested-With": "greenroom"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection = self._connection()
            try:
                connection.connect()
                if seconds is not None:
                    connection.sock.settimeout(seconds)
                connection.request(method, self._path() + name, body, headers)
                answer = connection.getresponse()
                status, text = answer.status, answer.read()
            finally:
                connection.close()
        except TimeoutError:
            raise ConfigError(f"{self.url} does not answer within {seconds or SECONDS:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ConfigError(f"cannot connect to {self.url}: {reason}") from None
        return self._read(status, text)

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError(f"{self.url!r} is no address of pages: give http://HOST:PORT/")
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        try:
            trusted = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            text = f"--ca: {self.ca} has no certificate that can be read: {error.strerror or error}"
            raise ConfigError(text) from None
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=trusted)

    def _path(self) -> str:
        return urlsplit(self.url).path.rstrip("/") + _PREFIX

    def _read(self, status: int, text: bytes) -> dict[str, Any]:
        try:
            answer: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            answer = None
        found = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if not found or (status == _NOT_FOUND and "error" not in found):
            raise ConfigError(f"{self.url} has no inspector (HTTP {status}): is it the address of a server's pages?")
        if "error" in found:
            message = _message_of(found["error"])
            hint = f"; {_TOKEN_HELP}" if status == _UNAUTHORIZED else ""
            raise ConfigError(f"refused by {self.url}: {message}{hint}")
        return found


def _message_of(error: object) -> str:
    """Return the text of a refusal."""
    fields = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    return str(fields.get("message", "refused"))
