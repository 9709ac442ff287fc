"""Hints for agents that await a function of the wrong library: asyncio's on trio, or trio's on asyncio. Pure."""

from __future__ import annotations

from actors.failures import is_a, text_of

_ON_TRIO = (
    "asyncio functions work only in asyncio tasks, and this agent runs on trio: in a web server register it with "
    '@app.agent(host="asyncio"), or use trio\'s functions'
)
_ON_ASYNCIO = (
    "trio functions work only in trio tasks, and this code does not run in one: an agent with "
    'host="asyncio" must use asyncio\'s functions'
)
_HINTS: tuple[tuple[type[Exception], str, str], ...] = (
    # The exception, words in its text, the hint. The texts are those of trio and of Python's asyncio; a test has them.
    (TypeError, "trio.run received unrecognized yield message", _ON_TRIO),
    (RuntimeError, "no running event loop", _ON_TRIO),
    (RuntimeError, "Timeout should be used inside a task", _ON_TRIO),
    (RuntimeError, "cannot determine the parent task", _ON_TRIO),
    (RuntimeError, "must be called from async context", _ON_ASYNCIO),
    (RuntimeError, "Task got bad yield: <class 'trio.", _ON_ASYNCIO),
    (RuntimeError, "Task got bad yield: WaitTaskRescheduled(", _ON_ASYNCIO),
)


def hint_for(error: BaseException) -> str:
    """Return a hint for an agent's author if ``error`` shows that code awaits the wrong library, else an empty text."""
    for kind, words, hint in _HINTS:
        if is_a(error, kind) and words in text_of(error):
            return hint
    return ""
