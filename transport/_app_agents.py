"""The agents of an app: their registration, as part of :class:`~transport.Greenroom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from actors import Agents
from actors.spi import require_host

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actors import AgentNames
    from actors.spi import AgentHost

F = TypeVar("F", bound="Callable[..., Awaitable[object]]")


class AppAgents:
    """The base class of :class:`~transport.Greenroom` with the app's agents.

    Args:
        host: The library that agents are written for, if their registration does not name it.
    """

    def __init__(self, host: AgentHost) -> None:
        require_host(host, "agents")
        self._host: AgentHost = host
        self._agents = Agents()
        self._agents.app = self

    @overload
    def agent(self, function: F, /) -> F: ...
    @overload
    def agent(
        self, /, *, name: str | None = None, timeout: float | None = None, host: AgentHost | None = None
    ) -> Callable[[F], F]: ...
    def agent(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        timeout: float | None = None,
        host: AgentHost | None = None,
    ) -> Any:  # see the overloads
        """Register an async function ``(run, input)`` as an agent. Use this as a decorator, with or without arguments.

        Args:
            function: The function.
            name: The agent's name; by default the name of the function.
            timeout: Time limit of each run, in seconds; by default the setting ``run_seconds``.
            host: The library that the function is written for, ``trio`` or ``asyncio``; by default that of the app. An
                asyncio agent gets an :class:`~actors.AsyncioRun`, and needs :mod:`transport.hosting`.

        Returns:
            The function itself.

        Raises:
            ConfigError: If the function cannot be an agent, or the name is taken.
        """

        def register(target: F) -> F:
            self._agents.add(target, name=name, timeout=timeout, host=self._host if host is None else host)
            return target

        return register if function is None else register(function)

    @property
    def agents(self) -> AgentNames:
        """Names of the registered agents, as a tuple. Its method ``describe()`` returns their JSON Schemas too."""
        return self._agents.names()
