"""AG-UI at a path of a Starlette or FastAPI application."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import orjson

from actors import ConfigError
from actors.failures import shown
from transport.adapters.agui import last_user_message
from transport.adapters.agui.routes import agui_routes
from transport.asgi.user import checked_function
from transport.hosting._mount import checked_app, checked_place

if TYPE_CHECKING:
    from transport.adapters.agui import Capabilities, InputFunction
    from transport.app import Greenroom
    from transport.asgi.user import UserFunction


def mount_agui(  # noqa: PLR0913 - by keyword only
    api: Any,
    path: str,
    app: Greenroom,
    *,
    user: UserFunction | None = None,
    input: InputFunction = last_user_message,  # noqa: A002 - the agent's own name for it
    capabilities: Mapping[str, Capabilities] | None = None,
) -> None:
    """Serve the app's agents to CopilotKit and other AG-UI clients below ``path``.

    ``POST PATH/AGENT`` runs an agent (its body is a ``RunAgentInput``), and answers its questions.
    ``POST PATH/AGENT/connect`` streams a whole thread, ``POST PATH/AGENT/THREAD/RUN/cancel`` ends a run, and
    ``GET PATH/AGENT/capabilities`` tells what an agent can do. A thread is a session of the user. A client that leaves
    does not end its run.

    Args:
        api: A FastAPI or Starlette application, or a router of either.
        path: The path, such as ``/agui``.
        app: The app. Give the web application ``lifespan=transport.hosting.lifespan(app)``, too.
        user: A function that finds the user of a request: see :func:`mount`. Without a function, the app's own ``auth``
            decides about the token in the header ``Authorization: Bearer …``.
        input: A function that makes the input of an agent from the ``RunAgentInput``, a dict. It must not wait. By
            default the input is the last message of the user: its text.
        capabilities: What your agents can do, by the name of the agent: ``{"assistant": {"tools": {"clientProvided":
            True}}}``, with the categories of AG-UI's ``AgentCapabilities``. The server adds what holds for all agents.

    Raises:
        ConfigError: An argument cannot be used.
    """
    checked_app(app)
    if not callable(input) or inspect.iscoroutinefunction(input):
        raise ConfigError(f"input must be a function that is not async, not {shown(input)}")
    declared = _checked(capabilities)
    function = checked_function(user)
    router, whole = checked_place(api, f"{path.rstrip('/')}/agents")
    prefix = whole.removesuffix("/agents")
    routes = agui_routes(
        lambda: app.server,
        has_auth=app.auth is not None,
        user=function,
        prefix=prefix,
        input_=input,
        capabilities=declared,
    )
    router.routes.extend(routes)


def _checked(capabilities: object) -> Mapping[str, Capabilities]:
    """Return declared capabilities. Raise ConfigError if they are no JSON objects of objects by the names of agents."""
    given: object = dict[str, object]() if capabilities is None else capabilities
    if _is_json(given) and isinstance(given, Mapping):
        agents = cast("Mapping[str, object]", given)
        if all(_has_objects(each) for each in agents.values()):
            return cast("Mapping[str, Capabilities]", agents)
    raise ConfigError(f"capabilities must map names of agents to categories of JSON objects, not {shown(capabilities)}")


def _has_objects(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, dict) for each in cast("dict[str, object]", value).values())


def _is_json(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
