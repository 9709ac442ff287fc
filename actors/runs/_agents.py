"""The agents of a server, by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from actors.errors import CommandRefused, ConfigError
from actors.events.encoding import is_text
from actors.failures import shown
from actors.runs.inputs import structurer

if TYPE_CHECKING:
    from actors.events.redaction import Redact
    from actors.events.types import JSON
    from actors.runs._tracing import Tracer
    from actors.runs.inputs import InputType

_LONGEST = 128
"""Maximum length of an agent's name, in characters."""
_SIMILAR = 0.75
"""Minimum similarity, from 0 to 1, of a name that is suggested. With difflib's own 0.6, names that differ are."""

_POSITIONAL = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}

AgentFunction: TypeAlias = Callable[..., Awaitable[object]]
"""Type of an agent's function: async, with a :class:`~actors.Run` as first parameter and perhaps an input as second."""


AgentHost: TypeAlias = Literal["trio", "asyncio"]
"""The libraries that an agent's function can be written for."""


@attrs.frozen
class Agent:
    """A registered agent: its name, its async function ``(run)`` or ``(run, input)``, and its time limit."""

    name: str
    """Name of the agent. A client uses this name to start a run of the agent."""
    function: AgentFunction
    """The async function that does the agent's work."""
    timeout: float | None
    """Time limit for each run of the agent, in seconds. If it is None, the server's default applies."""
    host: AgentHost
    """The library that the agent's function is written for: ``trio`` or ``asyncio``."""
    _structure: InputType | None
    """The type of the input, which checks an input and converts it. None if the agent takes no input."""

    def fit(self, value: JSON, redact: Redact | None = None) -> object:
        """Convert a client's input to the type that the agent's function expects, and return the result.

        Raise ``CommandRefused("bad_input")`` if the input does not have this type, or if the agent takes no input. The
        message does not show the values of secret fields. ``redact`` finds them; by default the usual names do.
        """
        if self._structure is not None:
            return self._structure(value) if redact is None else self._structure(value, redact)
        if value is not None:
            raise CommandRefused("bad_input", f"agent {self.name} takes no input")
        return None

    def describe(self) -> dict[str, JSON]:
        """Return the agent's ``name``, its ``description`` (the docstring), and the JSON Schema of its ``input``.

        The schema is ``{}`` if every JSON value is an input, and None if the agent takes no input.
        """
        text = inspect.getdoc(self.function) or ""
        schema = None if self._structure is None else self._structure.schema()
        return {"name": self.name, "description": text, "input": schema}

    def __call__(self, run: Any, value: object) -> Awaitable[object]:
        """Call the agent's function from a trio task, which must await the result at once.

        ``value`` is the input, already converted by :meth:`fit`. The function of an asyncio agent is executed in an
        asyncio task, by the run.
        """
        # No coroutine of its own: trio would go through it each time when the agent continues.
        arguments = (run,) if self._structure is None else (run, value)
        if self.host == "asyncio":
            awaited: Awaitable[object] = run.await_in_asyncio(self.function, *arguments)
            return awaited
        return self.function(*arguments)

    def arguments(self, run: object, value: object) -> tuple[object, ...]:
        """Return the arguments with which the agent's function is called."""
        return (run,) if self._structure is None else (run, value)


def _check_parameters(label: str, function: AgentFunction) -> None:
    """Raise :class:`~actors.ConfigError` if ``function`` cannot be called as ``(run)`` or as ``(run, input)``."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if not positional:
        raise ConfigError(f"agent {label} takes no run: it needs at least one parameter")
    others = [each for each in parameters if each not in positional[:2]]
    if any(each.default is each.empty and each.kind not in _VARIADIC for each in others):
        raise ConfigError(f"agent {label} takes a run and an input: it is given nothing else")
    if len(parameters) > 1 and parameters[1] not in positional:
        raise ConfigError(f"agent {label}: its second parameter is the input, and must be positional")


class AgentNames(tuple[str, ...]):  # noqa: SLOT001 - Python allows no slots here: it has the agents, too
    """The names of the registered agents: a tuple in the order of registration, which can describe the agents too."""

    _agents: tuple[Agent, ...]

    @classmethod
    def of(cls, agents: Iterable[Agent]) -> AgentNames:
        """Return the names of these agents."""
        listed = tuple(agents)
        made = cls(agent.name for agent in listed)
        made._agents = listed
        return made

    def describe(self) -> list[dict[str, JSON]]:
        """Return a description of each agent: its ``name``, its ``description`` and the JSON Schema of its ``input``.

        The description is the docstring of the function. The schema is ``{}`` if every JSON value is an input, and None
        if the agent takes no input. The whole is JSON.
        """
        return [agent.describe() for agent in self._agents]


def require_host(host: object, name: str) -> None:
    """Raise :class:`~actors.ConfigError` if ``host`` is no library for agents. ``name`` names the argument."""
    if host not in {"trio", "asyncio"}:
        raise ConfigError(f"{name} must be 'trio' or 'asyncio', not {shown(host)}")


def needs_asyncio(name: str) -> ConfigError:
    """Return the error of a function that is written for asyncio, in a server that runs on trio alone."""
    return ConfigError(
        f"{name} is written for asyncio, and this server runs on trio alone: host the app in an asyncio server by "
        "transport.hosting, or write the function for trio"
    )


class Agents:
    """The registry of agents. Each agent has a unique name. An agent can be found by its name or by its function."""

    def __init__(self) -> None:
        self._by_name: dict[str, Agent] = {}
        self.app: Any = None
        """The application that the agents belong to; :attr:`actors.Run.app` returns it. None if there is none."""
        self.tracer: Tracer | None = None
        """The tracer of runs and tool calls. None if they are not traced."""

    def add(
        self,
        function: AgentFunction,
        *,
        name: str | None = None,
        timeout: float | None = None,
        host: AgentHost = "trio",
    ) -> Agent:
        """Register an async function as an agent, and return the agent.

        Args:
            function: The async function.
            name: Name of the agent. By default it is the name of the function.
            timeout: Time limit for each run of the agent, in seconds. If it is None, the server's default applies.
            host: The library that the function is written for: ``trio`` or ``asyncio``.

        Raises:
            ConfigError: The function cannot be an agent, or another agent has this name.
        """
        label: Any = getattr(function, "__name__", "") if name is None else name
        if not isinstance(label, str) or not 0 < len(label) <= _LONGEST or not is_text(label):
            raise ConfigError(f"agent {shown(function)} needs a name of 1 to {_LONGEST} characters, not {shown(label)}")
        if not inspect.iscoroutinefunction(function):
            raise ConfigError(f"agent {label} is not an async function")
        _check_parameters(label, function)
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may have no types
            raise ConfigError(f"agent {label}: timeout must be above 0 seconds, not {shown(timeout)}")
        require_host(host, f"agent {label}: host")
        if label in self._by_name:
            raise ConfigError(f"there is an agent {label} already")
        agent = self._by_name[label] = Agent(label, function, timeout, host, structurer(function, 1))
        return agent

    def find(self, agent: str | AgentFunction) -> Agent:
        """Return the agent with this name or function. Raise ``CommandRefused("unknown_agent")`` if there is none."""
        if isinstance(agent, str):
            found = self._by_name.get(agent)
        else:
            # By `==`, not by identity: each access to a bound method makes a new object.
            found = next((known for known in self._by_name.values() if known.function == agent), None)
        if found is None:
            label = str(agent if isinstance(agent, str) else getattr(agent, "__name__", agent))
            label = label if len(label) <= _LONGEST else label[:_LONGEST] + "…"
            raise CommandRefused("unknown_agent", f"there is no agent {label!r}{self._hint(label)}")
        return found

    def _hint(self, label: str) -> str:
        """Return a text that suggests the agent with the most similar name; "" if none is similar."""
        close = difflib.get_close_matches(label, self._by_name, n=1, cutoff=_SIMILAR)
        return f"; did you mean {close[0]!r}?" if close else ""

    def on_asyncio(self) -> tuple[str, ...]:
        """Return the names of the agents that are written for asyncio."""
        return tuple(agent.name for agent in self._by_name.values() if agent.host == "asyncio")

    def names(self) -> AgentNames:
        """Return the names of all agents, in the order in which the agents were registered."""
        return AgentNames.of(self._by_name.values())
