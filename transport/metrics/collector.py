"""The metrics of a server as objects of prometheus-client, and as text. Needs the extra ``metrics``."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

from transport._extras import import_extra

import_extra("the metrics of a server", "metrics", "prometheus_client")

from prometheus_client.exposition import choose_encoder  # noqa: E402 - after the check of the extra
from prometheus_client.metrics_core import Metric  # noqa: E402 - as above
from prometheus_client.registry import Collector  # noqa: E402 - as above
from prometheus_client.samples import Sample  # noqa: E402 - as above

from actors.histogram import Histogram  # noqa: E402 - as above
from transport.metrics._families import RUNS_TOTAL, Family, Reading, server_of, steps  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transport.app import Greenroom
    from transport.metrics._families import Point

PREFIX = "greenroom_"
"""The beginning of the name of each metric."""
MAX_SAMPLES = 100
"""Maximum number of samples that are made into text at once, in one to three milliseconds. Other tasks run in between.

*With 200, a step for OpenMetrics took up to 7 ms on a busy machine.*
"""


class MetricsCollector(Collector):
    """The metrics of a running app, for a registry of your own: ``registry.register(MetricsCollector(app))``.

    Each scrape reads the statistics of the server anew. While the app is not running, there are no metrics.

    Args:
        app: The app.
    """

    def __init__(self, app: Greenroom) -> None:
        self._app = app

    def collect(self) -> Iterable[Metric]:
        """Return the metrics at this moment. To be called in the thread of the server's event loop."""
        server = server_of(self._app)
        if server is None:
            return
        reading = Reading.of(server)
        for family, points in reading.families():
            yield _metric(family, _samples(family, points, reading.node), openmetrics=True)

    def describe(self) -> Iterable[Metric]:
        """Return no metrics: the registry need not ask a server that perhaps does not run."""
        return ()


class _Part:
    """A part of a metric, in the place of a registry."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class Scrape:
    """One scrape: the statistics of a server as text, in parts.

    Args:
        reading: The statistics.
        accept: The field ``Accept`` of the request, which chooses the format.
    """

    def __init__(self, reading: Reading, accept: str) -> None:
        self._reading = reading
        self._encode, self.content_type = choose_encoder(accept)
        self._is_openmetrics = "openmetrics" in self.content_type

    def parts(self) -> Iterator[bytes]:
        """Yield the text in parts of at most :data:`MAX_SAMPLES` lines, each of which takes little time.

        *When each metric was a part, the turns of the event loop between them took a third of a scrape.*
        """
        text, lines = b"", 0
        for family, points in self._reading.families():
            samples = _samples(family, points, self._reading.node)
            first = tuple(islice(samples, MAX_SAMPLES - _HEAD_LINES))
            if lines + _HEAD_LINES + len(first) > MAX_SAMPLES:
                yield text
                text, lines = b"", 0
            text += self._text(family, first)
            lines += _HEAD_LINES + len(first)
            while more := tuple(islice(samples, MAX_SAMPLES)):
                yield text
                text, lines = _without_head(self._text(family, more)), len(more)
        yield text + _END if self._is_openmetrics else text

    def _text(self, family: Family, samples: Iterable[Sample]) -> bytes:
        metric = _metric(family, samples, openmetrics=self._is_openmetrics)
        text: bytes = self._encode(_Part(metric))
        return text.removesuffix(_END)


_HEAD_LINES = 3
"""Maximum number of lines that describe a metric: help, type and unit."""
_END = b"# EOF\n"


def _without_head(text: bytes) -> bytes:
    """Return the text of a part without its first lines, which describe the metric again."""
    while text.startswith(b"# "):
        text = text.partition(b"\n")[2]
    return text


def _metric(family: Family, samples: Iterable[Sample], *, openmetrics: bool) -> Metric:
    """Return a metric with its samples.

    In OpenMetrics the names of metrics differ without ``_total``, too, so ``runs_total`` beside ``runs`` has no type.
    """
    kind = "unknown" if openmetrics and family is RUNS_TOTAL else family.kind
    name = PREFIX + (family.name.removesuffix("_total") if kind == "counter" else family.name)
    metric = Metric(name, family.help, kind, "seconds" if name.endswith("_seconds") else "")
    metric.samples = list(samples)
    return metric


def _shown(bound: float) -> str:
    """Return the upper bound of a bucket as the value of the label ``le``."""
    return "+Inf" if bound == math.inf else repr(bound)


def _samples(family: Family, points: Iterable[Point], node: str) -> Iterator[Sample]:
    name = PREFIX + family.name
    for values, value in points:
        labels = dict(zip(family.labels, values, strict=True))
        if node:
            labels["node"] = node
        if not isinstance(value, Histogram):
            yield Sample(name, labels, value)
            continue
        number = 0
        for bound, number in steps(value):
            yield Sample(f"{name}_bucket", {**labels, "le": _shown(bound)}, number)
        yield Sample(f"{name}_count", labels, number)
        yield Sample(f"{name}_sum", labels, value.seconds)
