"""The running server behind an inspector, with the things that last longer than one request."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from actors import ConfigError
from transport.inspector._answers import Refused
from transport.inspector._overview import Totals
from transport.inspector._sampler import Sampler
from transport.inspector._scan import SharedScan
from transport.inspector._sparing import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from actors import RunStatistics
    from transport._running import Server
    from transport.inspector._paging import Page


class Inspected:
    """One running server, as the inspector looks at it."""

    def __init__(self, server: Server, worker: int) -> None:
        self.server = server
        self.worker = worker
        """The number of this process among the workers of a server. 0 for a process alone."""
        self.sampler = Sampler(server)
        self.scan = SharedScan(server.sessions)
        self.totals = Totals(server.endpoint, self.scan)
        self.user_pages: Recent[Page[RunStatistics]] = Recent()
        """Pages of the list of runs of one user. They need no scan of all runs."""
        self.watchers = 0
        """Number of requests that wait for events."""

    @property
    def node(self) -> str:
        """The name of this server: that of the node in a cluster, else that of the machine."""
        cluster = self.server.cluster_statistics()
        return platform.node() if cluster is None else cluster.node

    def forget_runs(self) -> None:
        """Show no result about runs again: an operator has changed something."""
        self.scan.forget()
        self.user_pages.forget()


class CurrentServer:
    """The server that an inspector shows at present. If the app is started again, that is another one.

    Args:
        find: Returns the running server, or raises ConfigError if there is none.
        worker: The number of this process among the workers of a server. 0 for a process alone.
    """

    def __init__(self, find: Callable[[], Server], worker: int) -> None:
        self._find = find
        self._worker = worker
        self._inspected: Inspected | None = None

    @property
    def known(self) -> Inspected | None:
        """The server that was shown last. None if there was none yet."""
        return self._inspected

    def get(self) -> Inspected:
        """Return the running server. Raise ``Refused`` if the app does not run."""
        try:
            server = self._find()
        except ConfigError as error:
            raise Refused(503, "starting", str(error)) from None
        if self._inspected is None or self._inspected.server is not server:
            self._inspected = Inspected(server, self._worker)
        return self._inspected


@cache
def version() -> str:
    """Return the version of Greenroom."""
    return metadata.version("greenroom")
