"""The log lines about refused clients: one at once for each reason, then at most one a minute with a count.

A refusal is a client's error, or a limit that is too low: only the operator can tell which. So a line about an origin
or a limit names the setting to change. A line about a token names none, since no setting would help. *A page that was
served elsewhere got 403, and a browser tells its page nothing about a refused upgrade.*

:class:`RefusalCounts` decides which lines to write (pure: the caller passes the time), :class:`RefusalLog` writes them.
"""

from __future__ import annotations

import logging
import math
from enum import Enum
from typing import TYPE_CHECKING

import attrs
import trio

from actors.failures import MAX_SHOWN, log_failure, log_line, shown
from actors.spi import CUT_OFF, UNREACHABLE
from transport._sources import ASSIGNMENT, KEYWORD
from transport.auth import BAD_TOKEN, NO_TOKEN, REVOKED
from transport.errors import UNAVAILABLE
from transport.protocol import close_codes
from transport.protocol.handshake import is_origin
from transport.protocol.names import ErrorCode

if TYPE_CHECKING:
    from transport.server._heartbeat import Heartbeat
    from transport.settings import Settings

logger = logging.getLogger("greenroom.refusals")

PERIOD_SECONDS = 60.0
"""Minimum number of seconds between two log lines about the same reason."""

# Refusals that also happen where nothing is wrong: a phone loses its network. They are no warnings. A token that had
# expired before the client came is a warning: *a program with one fixed token was refused, and the log was empty*.
_USUAL = logging.INFO


@attrs.frozen
class _Text:
    """The words of a reason: the ``code`` that the client gets, and a sentence.

    In the sentence, ``{name}`` stands for the value of a setting.
    """

    code: str
    sentence: str
    level: int = logging.WARNING


class Reason(Enum):
    """The reasons to refuse a client or its command, with their texts.

    There are only a few reasons, so the counts take little memory, however many clients are refused.
    """

    ORIGIN = _Text("HTTP 403", "the origin of the page is not in the setting allowed_origins")
    PATH = _Text("HTTP 404", "there is nothing at this path; the endpoint is /")
    SUBPROTOCOL = _Text("HTTP 400", "the client offers no subprotocol that is served")
    SERVER_FULL = _Text("HTTP 503", "the server has max_connections ({max_connections})")
    ADDRESS_FULL = _Text("HTTP 503", "the address has max_connections_per_address ({max_connections_per_address})")
    USER_FULL = _Text("4504", "the user has max_connections_per_user ({max_connections_per_user})")
    NO_TOKEN = _Text("4501", "the client has no token")
    BAD_TOKEN = _Text("4501", "the client has a wrong token")
    NOT_AUTHENTICATED = _Text("4501", "the auth function knows no user with these credentials")
    AUTH_UNAVAILABLE = _Text("4005", "the auth function cannot check the client's credentials now")
    REVOKED = _Text("4501", "the token was revoked", _USUAL)
    FORBIDDEN = _Text("4502", "the auth function forbids the user")
    TOKEN_EXPIRED = _Text("4004", "the token has expired")
    NO_HELLO = _Text("4503", "no hello came within hello_seconds ({hello_seconds:g} s)")
    BAD_FRAME = _Text("4500", "a message is not a frame of the protocol")
    BINARY = _Text("1003", "a message is binary")
    TOO_BIG = _Text(
        "1009",
        "a message is larger than max_frame_bytes ({max_frame_bytes}), or has more fragments than max_fragments "
        "({max_fragments})",
    )
    FLOODING = _Text(
        "4505",
        "the client goes on sending beyond commands_per_second ({commands_per_second:g}), control_frames_per_second "
        "({control_frames_per_second:g}) or max_fragments ({max_fragments}) per second",
    )
    EARLY_FLOODING = _Text(
        "dropped",
        "a client without a welcome sends beyond control_frames_per_second ({control_frames_per_second:g}) or "
        "max_fragments ({max_fragments}) per second",
    )
    HANDSHAKES = _Text(
        "dropped",
        "connections come faster than handshakes_per_second ({handshakes_per_second:g}), or from one address faster "
        "than handshakes_per_address_per_second ({handshakes_per_address_per_second:g})",
    )
    NO_FILES = _Text(
        "waits", "a connection waits, since the process or the system has no free files or memory", logging.ERROR
    )
    SILENT = _Text(
        "dropped",
        "a connection that sent no request made room for a newer one; settings: max_connections ({max_connections}), "
        "max_connections_per_address ({max_connections_per_address})",
    )
    BAD_REQUEST = _Text("HTTP 400", "the request is not HTTP/1.1 in its plain form")
    NO_REQUEST = _Text("HTTP 408", "no whole request came within hello_seconds ({hello_seconds:g} s)", _USUAL)
    SLOW_READER = _Text("dropped", "a response was read too slowly; setting: slow_seconds ({slow_seconds:g} s)", _USUAL)
    PROXY_HEADER = _Text(
        "dropped", "a connection from forwarded_allow does not begin with a header, as proxy_protocol requires"
    )
    TLS = _Text("dropped", "the client and the server do not agree on TLS", _USUAL)
    FORWARDED = _Text(
        "HTTP 400", "the proxies of the setting forwarded_allow do not say in one way which client sent a request"
    )
    RATE = _Text(
        "rate_limited",
        "a request is beyond commands_per_second ({commands_per_second:g}) and commands_burst ({commands_burst})",
    )
    STARTS = _Text(
        "rate_limited",
        "a command is beyond a limit of its user; settings: starts_per_minute ({starts_per_minute}), "
        "events_per_second ({events_per_second:g}), bytes_per_second ({bytes_per_second:g})",
    )
    SLOW = _Text("4001", "the client read nothing for slow_seconds ({slow_seconds:g} s), or too little", _USUAL)
    SESSION = _Text(
        "4005",
        "the session cannot be opened; settings: max_sessions ({max_sessions}), "
        "max_sessions_per_user ({max_sessions_per_user}), sessions_per_user ({sessions_per_user})",
    )
    CLUSTER = _Text("4005", "the session cannot be reached in the cluster now")
    SESSION_CLOSED = _Text("4506", "the session was closed permanently", _USUAL)
    COMMAND = _Text(
        "overloaded",
        "a command found no place in a queue; settings: runs_per_user ({runs_per_user}), "
        "queued_runs_per_user ({queued_runs_per_user}), mailbox_size ({mailbox_size}), "
        "retain_user_bytes ({retain_user_bytes})",
    )


BY_STATUS = {403: Reason.ORIGIN, 404: Reason.PATH, 400: Reason.SUBPROTOCOL}
"""The reason for each HTTP error with which an upgrade request is refused.

Status 503 is not here, because there are several reasons for it.
"""

BY_CODE = {
    close_codes.TOO_MANY_CONNECTIONS: Reason.USER_FULL,
    close_codes.NOT_AUTHENTICATED: Reason.NOT_AUTHENTICATED,
    close_codes.FORBIDDEN: Reason.FORBIDDEN,
    close_codes.NO_HELLO: Reason.NO_HELLO,
    close_codes.BAD_FRAME: Reason.BAD_FRAME,
    close_codes.UNSUPPORTED_DATA: Reason.BINARY,
    close_codes.MESSAGE_TOO_BIG: Reason.TOO_BIG,
    close_codes.FLOODING: Reason.FLOODING,
    close_codes.SLOW_CONSUMER: Reason.SLOW,
    close_codes.OVERLOADED: Reason.SESSION,
}
"""The reason for each close code that is a refusal both before and after the welcome."""

BY_ERROR: dict[str, Reason] = {ErrorCode.OVERLOADED: Reason.COMMAND, ErrorCode.RATE_LIMITED: Reason.STARTS}
"""The reason for each error code by which a session refuses a command because of a limit.

Any other error code means that the command itself has a fault.
"""

BY_TEXT = {
    (close_codes.NOT_AUTHENTICATED, NO_TOKEN): Reason.NO_TOKEN,
    (close_codes.NOT_AUTHENTICATED, BAD_TOKEN): Reason.BAD_TOKEN,
    (close_codes.NOT_AUTHENTICATED, REVOKED): Reason.REVOKED,
    (close_codes.OVERLOADED, UNAVAILABLE): Reason.AUTH_UNAVAILABLE,
    **{(close_codes.OVERLOADED, text.partition(":")[0]): Reason.CLUSTER for text in (UNREACHABLE, CUT_OFF)},
}
"""The reason for a close code together with the beginning of the text. With other texts, :data:`BY_CODE` decides."""

DETAILED = {
    Reason.BAD_TOKEN,
    Reason.NOT_AUTHENTICATED,
    Reason.AUTH_UNAVAILABLE,
    Reason.FORBIDDEN,
    Reason.BAD_FRAME,
    Reason.SESSION,
    Reason.CLUSTER,
}
"""The reasons for which the client gets a text with more details. This text is logged too."""

BEFORE_WELCOME = {
    close_codes.TOKEN_EXPIRED: Reason.TOKEN_EXPIRED,
    close_codes.SESSION_CLOSED: Reason.SESSION_CLOSED,
}
"""The reason for each close code that is a refusal only before the welcome.

After the welcome, a close with such a code is usual.
"""


@attrs.define
class _Count:
    due: float
    """The time from which the next log line about this reason can be written."""
    refusals: int = 0
    """Number of refusals since the last log line about this reason."""
    newest: str = ""
    """The detail of the newest refusal since the last log line."""


@attrs.frozen
class Summary:
    """Refusals that were counted, for one log line: the reason, the number, and the detail of the newest refusal."""

    reason: Reason
    refusals: int
    newest: str


class RefusalCounts:
    """Counts of the refusals for each reason, since the last log line about this reason.

    The class does not write to the log. ``period`` is the minimum number of seconds between two log lines about one
    reason.
    """

    def __init__(self, period: float = PERIOD_SECONDS) -> None:
        self._period = period
        self._counts: dict[Reason, _Count] = {}

    def note(self, reason: Reason, detail: str, now: float) -> bool:
        """Return True if this refusal must be logged now. Otherwise count it for a later summary, and return False."""
        count = self._counts.get(reason)
        if count is None:
            self._counts[reason] = _Count(now + self._period)
            return True
        count.refusals += 1
        count.newest = detail
        return False

    def due(self, now: float) -> list[Summary]:
        """Return the summaries to write now. A reason without refusals for a whole period is forgotten."""
        summaries: list[Summary] = []
        for reason, count in tuple(self._counts.items()):
            if count.due > now:
                continue
            if count.refusals:
                summaries.append(Summary(reason, count.refusals, count.newest))
                self._counts[reason] = _Count(now + self._period)
            else:
                del self._counts[reason]
        return summaries

    @property
    def next_due(self) -> float | None:
        """The time of the next call of :meth:`due`. None if nothing is counted."""
        return min((count.due for count in self._counts.values()), default=None)


class RefusalLog:
    """Writes refusals to the log. The heartbeat (a timer) calls :meth:`beat` while refusals are counted.

    ``port`` is the name of the port that refuses, such as "the pages". Without a name it is the WebSocket endpoint.
    """

    def __init__(self, settings: Settings, heartbeat: Heartbeat, port: str = "") -> None:
        self._settings = settings
        self._who = f"{port} " if port else ""
        self._heartbeat = heartbeat
        self._counts = RefusalCounts()

    def note(self, reason: Reason, detail: str = "") -> None:
        """Write or count a refusal. Never raises.

        Args:
            reason: The reason.
            detail: More about this refusal. The text can come from the client: its control characters are escaped.
        """
        was_idle = self._counts.next_due is None
        if self._counts.note(reason, detail, trio.current_time()):
            self._write(reason, detail)
        due = self._counts.next_due
        if was_idle and due is not None:
            self._heartbeat.add(self, due)

    def note_status(self, status: int, detail: str) -> None:
        """Log or count the refusal of an upgrade request with the HTTP error ``status``."""
        if (reason := BY_STATUS.get(status)) is not None:
            self.note(reason, detail)

    def note_closing(self, code: int, detail: str, *, greeted: bool) -> None:
        """Log or count the close of a connection with ``code``. Do nothing if this code is no refusal.

        Args:
            code: The close code.
            detail: The reason that the client gets.
            greeted: Whether the client had got its welcome.
        """
        reason = BY_TEXT.get((code, detail.partition(":")[0]), BY_CODE.get(code))
        if reason is None and not greeted:
            reason = BEFORE_WELCOME.get(code)
        if reason is not None:
            self.note(reason, detail if reason in DETAILED else "")

    def note_reply(self, code: str, message: str, reason: Reason | None) -> None:
        """Log or count the refusal of a command with an error code.

        Args:
            code: The error code.
            message: The text that the client gets.
            reason: The reason. If None, the error code decides the reason, and ``message`` can be logged too.
        """
        if reason is not None:
            self.note(reason)
        elif (by_code := BY_ERROR.get(code)) is not None:
            self.note(by_code, message if by_code is Reason.COMMAND else "")

    def beat(self, now: float) -> float | None:
        """Write the summaries that are due, and return the time of the next call."""
        for summary in self._counts.due(now):
            self._write(summary.reason, summary.newest, summary.refusals)
        return self._counts.next_due

    def finish(self) -> None:
        """Log the summaries of all counted refusals, because the server ends."""
        self.beat(math.inf)
        self._counts = RefusalCounts()
        self._heartbeat.remove(self)

    def on_failed(self, error: BaseException) -> None:
        """Forget all counts and begin anew, because a call by the heartbeat raised ``error``."""
        log_failure(logger, "refusals could not be counted", error=error)
        self._counts = RefusalCounts()

    def _write(self, reason: Reason, detail: str, more: int = 0) -> None:
        text = reason.value
        times = f" {more} more {'time' if more == 1 else 'times'} within {PERIOD_SECONDS:g} s" if more else ""
        sentence = text.sentence.format_map(_Values(self._settings))
        newest = f": {'the newest: ' if more > 1 else ''}{shown(detail)}" if detail else ""
        remedy = self._remedy(detail) if reason is Reason.ORIGIN else ""
        log_line(logger, text.level, "%srefused%s (%s): %s%s%s", self._who, times, text.code, sentence, newest, remedy)

    def _remedy(self, origin: str) -> str:
        """Return how to allow the origin, as a text that is safe to type; "" if the environment cannot allow it."""
        overruled = self._settings.source("allowed_origins") in {KEYWORD, ASSIGNMENT}
        if overruled or not is_origin(origin) or len(origin) > MAX_SHOWN:
            return ""
        listed = ",".join((*(self._settings.allowed_origins or ()), origin))
        return f"; if the page is yours, set GREENROOM_ALLOWED_ORIGINS={listed}"


class _Values(dict[str, object]):
    """The settings as a mapping from names to values, to fill in the sentences of reasons."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def __missing__(self, name: str) -> object:
        return getattr(self._settings, name)
