"""A scrape of a server in this process, read by prometheus-client's own parsers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from transport import Greenroom
from transport.metrics.route import scraped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from transport import Server

PLAIN, OPEN = "text/plain", "application/openmetrics-text; version=1.0.0"
"""The two forms, as a request asks for them in ``Accept``."""
FORMS = (PLAIN, OPEN)


@attrs.frozen
class Scraped:
    """The metrics of one scrape."""

    families: dict[str, Metric]
    """The metrics by name."""
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    """The values by the name of the sample, without its prefix, and its labels."""

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a sample; None if there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))))


def parsed(text: str, form: str) -> Scraped:
    """Read the text of a scrape. Raise if it is not valid in its form, or names a metric or a sample twice."""
    families: dict[str, Metric] = {}
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    readers: dict[str, Any] = {OPEN: read_openmetrics, PLAIN: read_text}
    read: Iterable[Metric] = readers[form](text)
    for family in read:
        assert family.name not in families or form == PLAIN, family.name
        families[family.name] = family
        for sample in family.samples:
            key = (sample.name.removeprefix("greenroom_"), tuple(sorted(sample.labels.items())))
            assert key not in samples, key
            samples[key] = sample.value
    return Scraped(families, samples)


async def scrape(server: Server | None, form: str = PLAIN) -> Scraped:
    """Scrape a server, as an operator's request does."""
    response = await scraped(server, form)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(form.partition(";")[0])
    assert response.headers["cache-control"] == "no-store"
    return parsed(bytes(response.body).decode(), form)


def sum_of(left: int, right: int) -> int:
    """Return the sum, as a sync tool."""
    return left + right


async def broken(**_: Any) -> None:
    """Fail, as a tool."""
    raise ValueError("no such thing")


def app_with_agents(**options: Any) -> Greenroom:
    """Return an app with agents that end in several ways."""
    app = Greenroom("memory:", settings={"drain_seconds": 0, "commands_burst": 1_000, **options})

    @app.agent
    async def adds(run: Any) -> int:
        result: int = await run.call_tool(sum_of, left=1, right=2)
        return result

    @app.agent
    async def fails(run: Any) -> None:
        await run.call_tool(broken)

    @app.agent
    async def plans(run: Any, name: str) -> None:
        async with run.subrun(name):
            pass

    return app
