"""The inspector's page without a browser: its texts, its addresses, its bars and lines, its colours."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from docs.documents import document
from web.colours import themes, too_close

import transport
from actors.cluster._statistics import ClusterStatistics
from actors.eventlog.base import LogStatistics
from actors.runs._tool_threads import ToolThreadsStatistics
from actors.streams._accounts import QuotaStatistics
from transport.server.endpoint import EndpointStatistics

if TYPE_CHECKING:
    from web.node import Node

PAGE = Path(transport.__file__).parent / "inspector" / "page"


def call(page: Node, module: str, js: str) -> Any:
    """Return the value of an expression that uses the names of a module of the page."""
    return page.run(f"const page = await load({json.dumps(str(PAGE / module))});\nreturn {js}")


def values(page: Node, module: str, function: str, *arguments: Any) -> list[Any]:
    """Return what a function of a module returns for each of these arguments."""
    found: list[Any] = call(page, module, f"{json.dumps(arguments)}.map((each) => page.{function}(each))")
    return found


# --- texts ------------------------------------------------------------------------------------------------------------


def test_durations(page: Node) -> None:
    """A duration has at most two units, and needs little room."""
    shown = {
        None: "\N{EN DASH}",
        0: "0 ms",
        0.00042: "0.4 ms",
        0.0123: "12 ms",
        0.9996: "1.0 s",
        59.94: "59.9 s",
        59.97: "1m 00s",
        3599.7: "1h 00m",
        7_500: "2h 05m",
        200_000: "2d 07h",
        -3: "0 ms",
    }
    assert values(page, "words.js", "duration", *shown) == list(shown.values())


def test_numbers(page: Node) -> None:
    """Large numbers are shown with their thousands apart, bytes with their unit."""
    assert values(page, "words.js", "count", None, 0, 12_345, 0.1234, 99.96) == [
        "\N{EN DASH}",
        "0",
        "12,345",
        "0.12",
        "100",
    ]
    assert values(page, "words.js", "rate", None, 0, 0.26, 9.96, 1_234.5) == ["\N{EN DASH}", "0", "0.3", "10", "1,235"]
    assert values(page, "words.js", "bytes", None, 0, 1_023, 1_536, 20_000_000) == [
        "\N{EN DASH}",
        "0 B",
        "1023 B",
        "1.5 KiB",
        "19 MiB",
    ]


def test_age_of_a_filter(page: Node) -> None:
    """An age is a number of seconds, or a number with a unit. Anything else is no age."""
    ages = {
        "90": 90,
        "30s": 30,
        " 5 m ": 300,
        "1.5h": 5_400,
        "1D": 86_400,
        "": None,
        "m": None,
        "5 weeks": None,
        "-1": None,
    }
    assert values(page, "words.js", "parseAge", *ages) == list(ages.values())


def test_clock(page: Node) -> None:
    """A moment of another day is shown with its date."""
    noon = "new Date(2026, 4, 6, 12, 3, 9) / 1000"
    assert call(page, "words.js", f"page.clock({noon}, {noon} + 60)") == "12:03:09"
    assert call(page, "words.js", f"page.clock({noon}, {noon} + 86400)") == "6 May 12:03:09"
    assert call(page, "words.js", "page.clock(null, 0)") == "\N{EN DASH}"


def test_facts_of_any_object(page: Node) -> None:
    """A nested object is shown as flat facts. The name of a field decides the unit of its value."""
    given = {
        "engine": "sqlite",
        "size_bytes": 2_048,
        "wait_seconds": 0.5,
        "open": True,
        "parts": {"rows": 12_000},
        "none": None,
    }
    assert call(page, "words.js", f"page.flat({json.dumps(given)})") == [
        ["engine", "sqlite"],
        ["size_bytes", "2.0 KiB"],
        ["wait_seconds", "500 ms"],
        ["open", "yes"],
        ["parts.rows", "12,000"],
        ["none", "\N{EN DASH}"],
    ]
    assert (
        len(call(page, "words.js", "page.flat(Object.fromEntries(Array.from({ length: 999 }, (_, i) => [i, i])))"))
        == 40
    )


def label_of(page: Node, panel: str, path: str) -> Any:
    """Return the label of a field of a panel of the overview."""
    return call(page, "labels.js", f"page.labelOf({json.dumps(panel)}, {json.dumps(path)})")


PANELS = {
    "log": LogStatistics,
    "tool_threads": ToolThreadsStatistics,
    "quotas": QuotaStatistics,
    "endpoint": EndpointStatistics,
    "cluster": ClusterStatistics,
}


@pytest.mark.parametrize("panel", PANELS)
def test_each_statistic_has_a_label(page: Node, panel: str) -> None:
    """Each field that a panel shows has a label in plain words, and no two fields of a panel have the same."""
    names = [field.name for field in attrs.fields(PANELS[panel]) if field.name != "reached"]
    labels = call(page, "labels.js", f"{json.dumps(names)}.map((name) => page.labelOf({json.dumps(panel)}, name))")
    assert len(set(labels)) == len(names)
    assert [each for each in labels if re.search(r"_|\b(wal|oom|p99)\b", each, re.IGNORECASE)] == []
    source = (PAGE / "labels.js").read_text()
    assert [name for name in names if not re.search(rf"^    {name}: \"", source, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("panel", "path", "label"),
    [
        ("log", "wal_bytes", "Size of the write-ahead log"),
        ("quotas", "reached.starts_per_minute", "Times that starts_per_minute was reached"),
        ("log", "pages.free_bytes", "Pages · free"),
        ("of_a_newer_server", "toString", "ToString"),
    ],
)
def test_labels_of_facts(page: Node, panel: str, path: str, label: str) -> None:
    """A known field has its label, a setting its own name. A field of a newer server is shown by its name as words."""
    assert label_of(page, panel, path) == label


def test_labels_in_the_guide() -> None:
    """The labels that the guide names for incidents are those of the page."""
    lines = [line for line in document("transport/cli/GUIDE.md").text.splitlines() if line.startswith("| ")]
    first = lines.index("| incident | what the overview shows | what to do there |")
    labels = [label for line in lines[first + 2 : first + 5] for label in re.findall(r'"([^"]+)"', line)]
    shown = "".join(file.read_text() for file in PAGE.glob("*.js")) + (PAGE / "index.html").read_text()
    assert len(labels) == 7
    assert [label for label in labels if f'"{label}"' not in shown] == []


def test_words_of_states(page: Node) -> None:
    """A state that the page does not know is shown as it is, also one with the name of a property of all objects."""
    assert values(page, "words.js", "stateWord", "ok", "asking", "of_a_newer_server", "__proto__", "toString") == [
        "Done",
        "Asking",
        "of_a_newer_server",
        "__proto__",
        "toString",
    ]


@pytest.mark.parametrize(
    ("first", "shown", "total", "text"),
    [
        (1, 0, 0, ""),
        (1, 3, 3, "3 in all"),
        (1, 200, 10_000, "1\N{EN DASH}200 of 10,000"),
        (201, 200, 10_000, "201\N{EN DASH}400 of 10,000"),
        (1, 5, None, "1\N{EN DASH}5"),
        (401, 0, 300, "No more rows"),
    ],
)
def test_range_of_rows(page: Node, first: int, shown: int, total: int | None, text: str) -> None:
    """The page says which rows of how many it shows."""
    assert call(page, "words.js", f"page.rangeWords({first}, {shown}, {json.dumps(total)})") == text


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [{}, {"user": "a&b=c#d", "session": "ü / ?"}, {"agent": "<img>", "state": "running"}]
)
def test_addresses_there_and_back(page: Node, params: dict[str, str]) -> None:
    """The address of a view gives back the view and its parameters, whatever characters are in them."""
    there = f"page.routeTo('runs', {json.dumps(params)})"
    assert call(page, "routes.js", f"page.parseRoute({there})") == {"view": "runs", "params": params}


@pytest.mark.parametrize("hash_", ["", "#", "#/", "#/nothing?x=1", "#/__proto__", "#/toString", "#//runs"])
def test_unknown_addresses(page: Node, hash_: str) -> None:
    """An unknown address is the overview."""
    assert call(page, "routes.js", f"page.parseRoute({json.dumps(hash_)})") == {"view": "overview", "params": {}}


def test_empty_parameters(page: Node) -> None:
    """A parameter without a value is not in an address. Zero and false are values."""
    assert call(page, "routes.js", "page.routeTo('runs', { a: '', b: null, c: undefined, d: 0 })") == "#/runs?d=0"


# --- bars and lines ---------------------------------------------------------------------------------------------------


def run(name: str, start: float | None, end: float | None, parent: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a run as the server describes it."""
    status = "running" if end is None else "ok"
    times = {"started_at": start, "ended_at": end}
    return {"run": name, "agent": f"agent {name}", "parent": parent, "status": status, **times, "tools": [], **more}


def tool(name: str, start: float, end: float | None) -> dict[str, Any]:
    """Return a tool call as the server describes it."""
    return {"call_id": f"call {name}", "name": name, "status": "ok", "started_at": start, "ended_at": end}


def traces(page: Node, now: float, *runs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the traces of a session's runs."""
    found: list[dict[str, Any]] = call(page, "layout.js", f"page.traces({json.dumps(runs)}, {now})")
    return found


def test_waterfall(page: Node) -> None:
    """Sub-agents and tools are below their run in the order of their starts. What is open ends now."""
    newest, oldest = traces(
        page,
        30,
        run("child", 12, 14, "top", tools=[tool("inner", 13, 14)]),
        run("top", 10, None, tools=[tool("late", 15, None), tool("early", 11, 12)]),
        run("before", 1, 2),
    )
    assert [(bar["name"], bar["depth"], bar["start"], bar["end"]) for bar in newest["bars"]] == [
        ("agent top", 0, 10, 30),
        ("early", 1, 11, 12),
        ("agent child", 1, 12, 14),
        ("inner", 2, 13, 14),
        ("late", 1, 15, 30),
    ]
    assert (newest["start"], newest["end"], newest["hidden"]) == (10, 30, 0)
    assert oldest["run"]["run"] == "before"


def test_waterfall_of_parts(page: Node) -> None:
    """A run whose parent is in no answer has a trace of its own. A run with an unknown start has a place too."""
    found = traces(page, 9, run("child", 3, 4, "gone"), run("odd", None, 5), run("own", 1, 2, "own"))
    assert {trace["run"]["run"] for trace in found} == {"child", "odd", "own"}
    assert all(bar["end"] >= bar["start"] for trace in found for bar in trace["bars"])


def test_waterfall_is_bounded(page: Node) -> None:
    """Of a run with very many tools, 200 bars are shown, and the number of the others."""
    many = [tool(str(number), number, number + 1) for number in range(1_000)]
    (trace,) = traces(page, 2_000, run("top", 0, 1_500, tools=many))
    assert (len(trace["bars"]), trace["hidden"]) == (200, 801)


def test_windows_of_a_session_are_merged(page: Node) -> None:
    """A run that spans two answers is one run, with the tools of both and the end that the newer one knows."""
    newer = [run("r", None, 9, agent="", tools=[{**tool("t", 0, 8), "started_at": None}, tool("u", 7, 8)])]
    older = [run("r", 1, None, tools=[{**tool("t", 2, None), "status": "running"}]), run("q", 0, 1)]
    first, second = call(page, "layout.js", f"page.merged({json.dumps([newer, older])})")
    assert (first["agent"], first["status"], first["started_at"], first["ended_at"]) == ("agent r", "ok", 1, 9)
    assert [(each["name"], each["status"], each["started_at"], each["ended_at"]) for each in first["tools"]] == [
        ("t", "ok", 2, 8),
        ("u", "ok", 7, 8),
    ]
    assert second["run"] == "q"


@pytest.mark.parametrize(
    ("span", "step"),
    [(0.001, 0.0002), (0.7, 0.2), (4.2, 1), (59, 20), (200, 60), (3_600, 1_200), (40_000, 14_400), (1e6, 432_000)],
)
def test_marks_of_an_axis(page: Node, span: float, step: float) -> None:
    """An axis has 3 to 6 marks at round times, the first one at its begin."""
    found = call(page, "layout.js", f"page.ticks({span})")
    assert found == pytest.approx([step * number for number in range(len(found))])
    assert 3 <= len(found) <= 6
    assert found[-1] < span


def test_bars_stay_on_their_axis(page: Node) -> None:
    """The place of a bar is between 0 and 100 %, also if the clocks of the server disagree."""
    axis = "{ start: 10, end: 20 }"
    assert call(page, "layout.js", f"page.placed({{ start: 12, end: 15 }}, {axis})") == {"left": 20, "width": 30}
    assert call(page, "layout.js", f"page.placed({{ start: 5, end: 99 }}, {axis})") == {"left": 0, "width": 100}


def test_line_of_the_newest_values(page: Node) -> None:
    """The line ends at the right edge, and its top is the largest value. An unknown value makes a gap."""
    line = call(page, "history.js", "page.sparkline([0, 5, null, 10, 10], 100, 24, 11).line")
    assert line == "M60 22L70 12M90 2L100 2"
    assert call(page, "history.js", "page.sparkline([], 100, 24)") == {"line": "", "area": ""}
    assert call(page, "history.js", "page.sparkline([0, 0], 100, 24, 11).line") == "M90 22L100 22"
    assert call(page, "history.js", "page.withSample(Array(500).fill(1), 2).length") == 120


# --- lists ------------------------------------------------------------------------------------------------------------


def test_held_list(page: Node) -> None:
    """A list that is held keeps known rows where they were, and adds new ones at its end.

    At most 50 rows stay that have gone.
    """
    assert call(page, "dom.js", "page.heldOrder(['a', 'b', 'c'], new Map([['d', 1], ['c', 1], ['a', 1]]))") == [
        "a",
        "b",
        "c",
        "d",
    ]
    assert call(page, "dom.js", "page.heldOrder(Array.from({ length: 99 }, (_, i) => i), new Map()).length") == 50


def test_newest_events(page: Node) -> None:
    """Of the events of a session the newest 200 are kept, each once, newest first."""
    known, more = ([{"seq": seq} for seq in seqs] for seqs in (range(300, 100, -1), range(290, 351)))
    found = call(page, "events.js", f"page.newestFirst({json.dumps(known)}, {json.dumps(more)})")
    assert [event["seq"] for event in found] == list(range(350, 150, -1))


def test_lines_of_the_tree(page: Node) -> None:
    """The lines of the tree are the unfolded branches, with buttons below a branch that has more pages."""
    root, left, right, leaf = (
        {"path": path, "name": path, "children": number}
        for path, number in (("/", 2), ("/a", 300), ("/b", 0), ("/a/x", 0))
    )
    branches = [
        ["/", {"children": [left, right], "next": None, "total": 2}],
        ["/a", {"children": [leaf], "next": "n", "total": 300}],
    ]
    lines = call(page, "tree.js", f"page.treeLines({json.dumps(root)}, new Map({json.dumps(branches)}))")
    assert [(line.get("pager") or line["actor"]["path"], line["depth"], line["unfolded"]) for line in lines] == [
        ("/", 0, True),
        ("/a", 1, True),
        ("/a/x", 2, False),
        ("/a", 2, False),
        ("/b", 1, False),
    ]
    below = "[['/a/x', '/a'], ['/ab', '/a'], ['/a', '/'], ['/', '/'], ['/a', '/a']]"
    assert call(page, "tree.js", f"{below}.map(([one, other]) => page.isBelow(one, other))") == [
        True,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("module", ["failures.js", "events.js"])
def test_text_of_a_filter(page: Node, module: str) -> None:
    """The filter of a list finds a part of any shown field, in capital letters or not."""
    event = {"type": "Tool_executing", "what": "Tool_executing", "run": "R-7", "name": None}
    assert [
        call(page, module, f"page.fits({json.dumps(event)}, {text!r})") for text in ("", "tool_", "r-7", "null")
    ] == [
        True,
        True,
        True,
        False,
    ]


def test_delay_of_the_next_attempt(page: Node) -> None:
    """While the server is lost, the page asks later and later, but at least every 15 s."""
    assert values(page, "refresh.js", "retryDelay", 1, 2, 3, 4, 5, 50) == [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]


# --- the files --------------------------------------------------------------------------------------------------------

CSS = (PAGE / "inspect.css").read_text()
SURFACES = ("page", "raised", "sunken", "bubble")
TEXTS = ("ink", "soft", "accent", "ok", "error", "timeout", "cancelled", "interrupted")
EDGES = ("edge", "accent", "ok", "error", "timeout", "cancelled", "interrupted")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_of_the_inspector(theme: str) -> None:
    """Text has a contrast of at least 4.5 on each background. Edges, bars and the focus have at least 3 (WCAG AA)."""
    texts = [(text, surface, 4.5) for text, surface in itertools.product(TEXTS, SURFACES)]
    edges = [(edge, surface, 3.0) for edge, surface in itertools.product(EDGES, SURFACES)]
    assert too_close(themes(CSS)[theme], [*texts, *edges, ("on-accent", "accent", 4.5)]) == {}


def test_colours_of_the_inspector_are_the_checked_ones() -> None:
    """The CSS takes all colours from variables, and test_contrast_of_the_inspector checks these variables."""
    rules = re.sub(r":root \{.*?\}|/\*.*?\*/", "", CSS, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-f]{3,8}\b(?![\w\"-])|\b(?:rgb|hsl|oklch)a?\(", rules) == []
    used = set(re.findall(r"(?<![\w-])(?:color|fill|stroke):\s*([^;]+);", rules))
    allowed = {f"var(--{name})" for name in (*TEXTS, "tone", "on-accent", "bubble")}
    assert used - allowed - {"currentcolor", "inherit", "none", "transparent"} == set()
    assert set(re.findall(r"--tone:\s*var\(--(\w+)\)", rules)) <= set(TEXTS)
    assert "opacity" not in re.sub(r"::placeholder \{[^}]*\}", "", rules)


def test_page_needs_no_inline_code() -> None:
    """The page works under a policy that forbids inline scripts and styles, below any path.

    Its scripts never make markup of data.
    """
    html = (PAGE / "index.html").read_text()
    assert re.findall(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)|=\"/|https?:", html) == []
    code = "\n".join(path.read_text() for path in PAGE.glob("*.js"))
    assert (
        re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style\"",
            code,
        )
        == []
    )
    assert all(re.fullmatch(r"[a-z0-9_.-]+\.(html|js|css|svg)", path.name) for path in PAGE.iterdir())


def test_page_finds_its_elements() -> None:
    """Each id that the scripts look for is in the page, and no id is there twice."""
    ids = re.findall(r'\sid="([\w-]+)"', (PAGE / "index.html").read_text())
    assert len(ids) == len(set(ids))
    wanted = {name for path in PAGE.glob("*.js") for name in re.findall(r'byId\("([\w-]+)"', path.read_text())}
    assert wanted - set(ids) == set()
