"""Traces of runs and tool calls, by OpenTelemetry's conventions for generative AI. Needs the extra ``traces``.

The conventions are still in development: this is the only module that knows them.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from transport._extras import import_extra

import_extra("the setting traces", "traces", "opentelemetry.trace", "opentelemetry.context")

import orjson  # noqa: E402 - after the check of the extra
from opentelemetry import trace  # noqa: E402 - as above
from opentelemetry.context import Context, attach, get_current  # noqa: E402 - as above
from opentelemetry.trace import Link, SpanKind, StatusCode  # noqa: E402 - as above
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: E402 - as above

from actors import current_run  # noqa: E402 - as above
from actors.events.redaction import redact_text  # noqa: E402 - as above
from actors.events.types import Status  # noqa: E402 - as above
from actors.failures import log_failure  # noqa: E402 - as above
from actors.spi import Outcome, encode  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from actors import Redact
    from actors.spi import Span, Traced

logger = logging.getLogger("greenroom.traces")

MAX_CONTENT = 8_192
"""Maximum number of characters of an input, an output, arguments or a result in a span. The rest is left out."""
_LARGEST = 16 * 1024 * 1024
"""Maximum size of a value that is made into content, in bytes. The limit of events has refused a larger one before."""
_LONGEST_ORIGIN = 128
"""Maximum length of a ``traceparent``, in characters. A longer one is ignored."""
_FAILED = {"error", "timeout", "interrupted"}
"""The statuses of runs and tool calls that are errors of a span. To cancel a run is none."""
_PROPAGATOR = TraceContextTextMapPropagator()
_LEFT_OPEN = Outcome.stopped(Status.CANCELLED, "the run that it was part of is over")
_ROOT = Context()
"""The context of a run that is no sub-agent: each begins a trace of its own."""


class Tracing:
    """The tracer of an app: a :class:`~actors.spi.Tracer` that makes spans by the global provider of OpenTelemetry.

    Each run is a span ``invoke_agent AGENT``, each tool call a span ``execute_tool TOOL`` below it. Inside the code of
    an agent or a tool, its span is the current one, so that spans of the application's own are below it.

    Args:
        redact: Removes secrets from the content.
        content: Whether spans have inputs, outputs, arguments, results and texts of errors.
    """

    def __init__(self, redact: Redact, *, content: bool) -> None:
        self._tracer = trace.get_tracer("greenroom", metadata.version("greenroom"))
        self._redact = redact
        self.has_content = content

    def begin_run(self, run: Traced, parent: Traced | None, text: bytes, origin: object) -> Span:
        """Begin the span of a run. The request that started it is a link, since its trace has perhaps ended."""
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": run.agent,
            "gen_ai.conversation.id": run.session,
            "greenroom.run.id": run.id,
        }
        with _contained():
            context = _ROOT if parent is None else _context_of(parent)
            links = _links(origin) if parent is None else ()
            name = f"invoke_agent {run.agent}"
            span = self._tracer.start_span(name, context, SpanKind.INTERNAL, attributes, links)
            made = _RunSpan(self, span, context)
            if self.has_content and span.is_recording():
                made.show("gen_ai.input.messages", lambda: self._messages("user", orjson.loads(text)))
            return made
        return _RunSpan(self, trace.INVALID_SPAN, _ROOT)

    def begin_tool(self, run: Traced, call_id: str, name: str, data: bytes) -> Span:
        """Begin the span of a tool call, below the current span of the run's code."""
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": call_id,
            "greenroom.run.id": run.id,
        }
        with _contained():
            context = _context_of(run)
            span = self._tracer.start_span(f"execute_tool {name}", context, SpanKind.INTERNAL, attributes)
            made = _ToolSpan(self, span, context, run.span)
            if self.has_content and span.is_recording():
                made.show("gen_ai.tool.call.arguments", lambda: self.text(orjson.loads(data)["arguments"]))
            return made
        return _ToolSpan(self, trace.INVALID_SPAN, _ROOT, None)

    def origin(self) -> str | None:
        """Return the ``traceparent`` of the caller's current span. Return None if there is none."""
        carrier: dict[str, str] = {}
        with _contained():
            _PROPAGATOR.inject(carrier)
        return carrier.get("traceparent")

    def failure_of(self, outcome: Outcome) -> str | None:
        """Return the text of an error, if spans have content."""
        text = str((outcome.error or {}).get("message", ""))
        return _cut(redact_text(self._redact, text)) if self.has_content else None

    def answer(self, result: object) -> str:
        """Return the result of a run as the message of its agent."""
        return self._messages("assistant", result)

    def _messages(self, role: str, value: object) -> str:
        message = {"role": role, "parts": [{"type": "text", "content": self.text(value)}]}
        return orjson.dumps([message]).decode()

    def text(self, value: object) -> str:
        """Return a value without secrets: a text as it is, any other value as JSON text."""
        plain = self._redact(orjson.loads(encode(value, _LARGEST)))
        return _cut(redact_text(self._redact, plain) if isinstance(plain, str) else orjson.dumps(plain).decode())


class _TracedSpan:
    """A span with the context in which it is the current one."""

    __slots__ = ("_context", "_is_open", "_span", "_tracing")

    def __init__(self, tracing: Tracing, span: trace.Span, outer: Context) -> None:
        self._tracing = tracing
        self._span = span
        self._context = trace.set_span_in_context(span, outer)
        self._is_open = True

    @property
    def context(self) -> Context:
        """The context in which this span is the current one."""
        return self._context

    def enter(self) -> object:
        """Make this span the current one of the calling task. Return the context of before."""
        before = get_current()
        attach(self._context)
        return before

    def leave(self, before: object) -> None:
        """Restore the context of before, if this span is the current one."""
        # Not by token: a generator that was never finished may be closed in another context than it began in.
        if isinstance(before, Context) and trace.get_current_span() is self._span:
            attach(before)

    def show(self, name: str, value: Callable[[], str]) -> None:
        """Add content to the span, as an attribute. If it cannot be made, leave it out."""
        with _contained():
            self._span.set_attribute(name, value())

    def _close(self, outcome: Outcome, usage: Mapping[str, Any], content: str, write: Callable[[object], str]) -> None:
        """End the span. ``content`` is the name of the attribute with the result, and ``write`` makes it a text."""
        self._is_open = False
        with _contained():
            if self._span.is_recording():
                status = outcome.status.value
                self._span.set_attributes({"greenroom.status": status, **usage})
                if status in _FAILED:
                    self._span.set_attribute("error.type", str((outcome.error or {}).get("code", status)))
                    self._span.set_status(StatusCode.ERROR, self._tracing.failure_of(outcome))
                elif self._tracing.has_content and outcome.error is None:
                    self.show(content, lambda: write(outcome.result))
        with _contained():
            self._span.end()


class _RunSpan(_TracedSpan):
    """The span of a run."""

    __slots__ = ("tools",)

    def __init__(self, tracing: Tracing, span: trace.Span, outer: Context) -> None:
        super().__init__(tracing, span, outer)
        self.tools: dict[_ToolSpan, None] = {}
        """The spans of tool calls that have not ended. The end of the run ends them."""

    def end(self, outcome: Outcome, usage: bytes | None = None) -> None:
        """End the span, and those of tool calls that the run has left open."""
        if not self._is_open:
            return
        for tool in tuple(self.tools):
            tool.end(_LEFT_OPEN)
        self._close(outcome, _usage(usage), "gen_ai.output.messages", self._tracing.answer)


class _ToolSpan(_TracedSpan):
    """The span of a tool call."""

    __slots__ = ("_run",)

    def __init__(self, tracing: Tracing, span: trace.Span, outer: Context, run: Span | None) -> None:
        super().__init__(tracing, span, outer)
        self._run = run if isinstance(run, _RunSpan) else None
        if self._run is not None:
            self._run.tools[self] = None

    def end(self, outcome: Outcome, usage: bytes | None = None) -> None:
        """End the span."""
        del usage
        if not self._is_open:
            return
        if self._run is not None:
            self._run.tools.pop(self, None)
        self._close(outcome, {}, "gen_ai.tool.call.result", self._tracing.text)


def _context_of(run: Traced) -> Context:
    """Return the context of the code of ``run``: of the calling task if it works for the run, or that of its span."""
    current = current_run()
    if current is not None and current.run_id == run.id:
        return get_current()
    return run.span.context if isinstance(run.span, _RunSpan) else _ROOT


def _links(origin: object) -> tuple[Link, ...]:
    """Return the link to the request that started a run. A ``traceparent`` that is none is ignored."""
    if not isinstance(origin, str) or len(origin) > _LONGEST_ORIGIN:
        return ()
    found = trace.get_current_span(_PROPAGATOR.extract({"traceparent": origin}, _ROOT)).get_span_context()
    return (Link(found),) if found.is_valid else ()


def _usage(usage: bytes | None) -> Mapping[str, Any]:
    """Return the attributes of a run's usage. Fields of other names and types are left out."""
    loaded: Any = None if usage is None else orjson.loads(usage)
    if not isinstance(loaded, dict):
        return {}
    given = cast("dict[str, Any]", loaded)
    names = {"input_tokens": int, "output_tokens": int}
    found: dict[str, Any] = {
        f"gen_ai.usage.{name}": given[name] for name, kind in names.items() if type(given.get(name)) is kind
    }
    return found | ({"gen_ai.response.model": given["model"]} if isinstance(given.get("model"), str) else {})


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CONTENT else text[:MAX_CONTENT] + " … (truncated)"


@contextmanager
def _contained() -> Generator[None]:
    """Log an exception of the block.

    *A processor of spans that failed would end the run.*
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - of foreign processors, and of a redact function
        log_failure(logger, "a span could not be recorded", error=error)
