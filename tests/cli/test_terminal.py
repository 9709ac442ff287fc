"""Lines for the person at the terminal."""

from __future__ import annotations

import pytest

from transport.cli._terminal import TerminalReporter, openable, say


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
