"""Spans of OpenTelemetry's SDK in memory. The provider is that of the whole process: there can be only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

SPANS = InMemorySpanExporter()
"""The spans that have ended."""


class Failing(SpanProcessor):
    """A processor of spans that raises while :attr:`fails` is set."""

    fails = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Raise, perhaps."""
        if self.fails:
            raise RuntimeError("a processor failed at a start")

    def on_end(self, span: ReadableSpan) -> None:
        """Raise, perhaps."""
        if self.fails:
            raise RuntimeError("a processor failed at an end")


PROCESSOR = Failing()
_PROVIDER = TracerProvider(shutdown_on_exit=False)
_PROVIDER.add_span_processor(SimpleSpanProcessor(SPANS))
_PROVIDER.add_span_processor(PROCESSOR)
trace.set_tracer_provider(_PROVIDER)
OWN = trace.get_tracer("own")
"""The tracer of an application."""


def named(name: str) -> ReadableSpan:
    """Return the only span with this name."""
    (found,) = [span for span in SPANS.get_finished_spans() if span.name == name]
    return found


def parent_of(name: str) -> str | None:
    """Return the name of the span above the span with this name. Return None if it begins a trace."""
    parent = named(name).parent
    if parent is None:
        return None
    (found,) = [each for each in SPANS.get_finished_spans() if each.context and each.context.span_id == parent.span_id]
    return found.name


def attributes(name: str) -> dict[str, object]:
    """Return the attributes of the only span with this name."""
    return dict(named(name).attributes or {})
