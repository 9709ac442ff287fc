"""A port for another protocol than WebSocket, with the same limits, clock and log of refusals as the endpoint has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from actors.loop.clock import loop_time
from transport.server._heartbeat import Heartbeat
from transport.server._limit import Limit
from transport.server._refusals import Reason, RefusalLog
from transport.server.accepting import AcceptStage
from transport.server.admission import Admission, Admitted
from transport.server.opening import opener_for

if TYPE_CHECKING:
    from transport.server.tls import Certificate
    from transport.settings import Settings

C = TypeVar("C", bound=Admitted)


class Port(Generic[C]):
    """The parts of a port that do not depend on its protocol. The port counts its own connections only.

    Args:
        settings: The limits and times of connections.
        name: The name of the port in the log, such as "the pages".
        certificate: The certificate, if the port is to use TLS.
    """

    def __init__(self, settings: Settings, name: str, certificate: Certificate | None = None) -> None:
        self.settings = settings
        self._time = loop_time()
        self._heartbeat = Heartbeat()
        self._refusals = RefusalLog(settings, self._heartbeat, name)
        self.stage = AcceptStage(settings, self._time, self._refusals)
        """Accepts connections within the rate limits."""
        self.opener = opener_for(settings, certificate, self._refusals)
        """Opens each connection before its first request. None if there is nothing to do."""
        self.admission = Admission[C](settings, self._refusals)
        """The open connections, and the limits on their number."""
        self.bad_requests = 0
        """Number of requests that were refused because they are not plain HTTP/1.1, or because of their size."""
        self.slow_requests = 0
        """Number of connections closed because no whole request came in time."""
        self.slow_readers = 0
        """Number of connections closed because the client took too little of a response."""

    async def keep_limits(self) -> None:
        """Keep the time limits of :meth:`within`, and write the log of refusals, until cancelled."""
        await self._heartbeat.run()

    def within(self, seconds: float) -> Limit:
        """Return a time limit for a ``with`` block. Time in which the event loop is blocked is not counted."""
        return Limit(self._heartbeat, self._time, seconds)

    def note_bad_request(self, fault: str) -> None:
        """Count a request that is refused for the reason ``fault``, and write it to the log."""
        self.bad_requests += 1
        self._refusals.note(Reason.BAD_REQUEST, fault)

    def note_slow_request(self) -> None:
        """Count a connection on which no whole request came in time, and write it to the log."""
        self.slow_requests += 1
        self._refusals.note(Reason.NO_REQUEST)

    def note_slow_reader(self) -> None:
        """Count a connection that was closed because the client read too slowly, and write it to the log."""
        self.slow_readers += 1
        self._refusals.note(Reason.SLOW_READER)

    def finish(self) -> None:
        """Write the refusals that were only counted, because the server ends."""
        self._refusals.finish()
