"""Lines for the person at the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import trio

from actors import LogUnavailable
from transport.cli._terminal import Progress, TerminalReporter, openable, say, told

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://0.0.0.0:8765/", "ws://127.0.0.1:8765/"),
        ("http://[::]:8766/", "http://[::1]:8766/"),
        ("ws://localhost:8765/", "ws://localhost:8765/"),
        ("ws://[::1]:8765/", "ws://[::1]:8765/"),
    ],
)
def test_address_of_every_interface_can_be_opened(url: str, expected: str) -> None:
    """In a URL that is printed, an address that means "every interface" is replaced by a loopback address.

    A client can connect to the loopback address. Other URLs are not changed.
    """
    assert openable(url) == expected


def test_line_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in a line are escaped, since a terminal would obey them."""
    say("a\x1b[31m\nb ü")
    assert capsys.readouterr().err == "greenroom: a\\x1b[31m\\nb ü\n"


def test_ready_server(capsys: pytest.CaptureFixture[str]) -> None:
    """A ready server prints one line for programs on stdout. On stderr it prints the address for a browser.

    Without pages, it prints the address for clients on stderr.
    """
    TerminalReporter().on_ready("ws://0.0.0.0:1/", "http://0.0.0.0:2/")
    TerminalReporter().on_ready("ws://0.0.0.0:1/", None)
    out, err = capsys.readouterr()
    assert out == "ready ws://0.0.0.0:1/ http://0.0.0.0:2/\nready ws://0.0.0.0:1/ -\n"
    page = "greenroom: open http://127.0.0.1:2/ in a browser; Ctrl-C ends the server"
    assert err.splitlines() == [page, "greenroom: clients connect to ws://127.0.0.1:1/; Ctrl-C ends the server"]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, "1 run to finish: echo in session s0"),
        (2, "2 runs to finish: echo in session s0, echo in session s1"),
        (10, f"10 runs to finish: {', '.join(f'echo in session s{number}' for number in range(10))}"),
        (12, f"12 runs to finish: {', '.join(f'echo in session s{number}' for number in range(10))}, 2 more"),
    ],
)
def test_draining_server(capsys: pytest.CaptureFixture[str], count: int, told: str) -> None:
    """A server that shuts down prints the first ten runs that it waits for, and the number of further runs."""
    TerminalReporter().on_drain("SIGINT", [("echo", f"s{number}") for number in range(count)], 30)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", f"greenroom: SIGINT: waiting up to 30 s for {told}")


def test_idle_server_drains_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """If no run is open, a server that shuts down prints nothing about runs."""
    TerminalReporter().on_drain("SIGINT", [], 30)
    assert capsys.readouterr() == ("", "")


async def test_long_wait_is_told(capsys: pytest.CaptureFixture[str], autojump_clock: MockClock) -> None:
    """A command says after 2 s what it waits for. A shorter wait is not worth a line."""

    async def work(seconds: float) -> float:
        await trio.sleep(seconds)
        return seconds

    assert await told("still opening x", lambda: work(1.9)) == 1.9
    assert capsys.readouterr().err == ""
    assert await told("still opening x", lambda: work(2.1)) == 2.1
    assert capsys.readouterr().err == "greenroom: still opening x\n"


async def test_failure_of_what_is_waited_for() -> None:
    """An error of what is waited for is raised as it is, not in a group."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise LogUnavailable("locked")

    with pytest.raises(LogUnavailable, match="locked"):
        await told("still opening x", fail)


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is one line that is overwritten and removed. It needs a terminal that does not show the result, too."""
    for err, out, shown in ((True, False, True), (False, False, False), (True, True, False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda err=err: err)
        monkeypatch.setattr(sys.stdout, "isatty", lambda out=out: out)
        with Progress(sys.stdout) as progress:
            progress.sessions(1, 2, 3)
            progress.pages(1, 2)  # too soon
        text = "greenroom: 1 of 2 sessions, 3 events"
        assert capsys.readouterr().err == (f"\r{text}\r{' ' * len(text)}\r" if shown else "")
