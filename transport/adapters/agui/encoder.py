"""The events of a session as AG-UI events: of one AG-UI run, or of a whole thread. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from actors import AgentCompleted, AgentStarted
from transport.adapters.agui import _build as build
from transport.adapters.agui._run_view import RunView, first_id, noted, session_event

if TYPE_CHECKING:
    from actors import Event
    from transport.adapters.agui._build import AguiEvent


class Encoder:
    """One AG-UI run, as the answer to one ``POST``.

    The first run without a parent that is fed is encoded, with its sub-agents. Events of other runs are ignored. The
    same events always give the same AG-UI events with the same ids. So a stream that was cut is taken up again by a new
    encoder: feed it from the run's start, and drop what comes from events that the client has.

    Args:
        thread: The id of the AG-UI thread: the name of the session.
        run_id: The id of the AG-UI run, which its client has chosen.
        answers: The id of a question. The AG-UI run is then the one that goes on behind this question, and nothing is
            returned before. Without it, the AG-UI run begins with the run.
    """

    def __init__(self, thread: str, run_id: str, answers: str | None = None) -> None:
        self._run_id, self._answers = run_id, answers
        self._view = RunView(thread, run_id, self._id_behind)
        self._is_open = answers is None
        self.over = False
        """Whether the AG-UI run has ended. Later events give nothing."""

    def feed(self, event: Event) -> list[AguiEvent]:
        """Return the AG-UI events for the next event of the session, in order. Often there are none.

        Each has the event's time as ``timestamp``, and its seq as ``metadata.greenroom.seq``. Events that came while
        the run waited for its user are returned together with the answer, with times and seqs of their own.
        """
        if self.over:
            return []
        view, waited_for = self._view, self._view.waits_for
        out = view.feed(event)
        if not self._is_open:
            self._is_open = waited_for == self._answers and view.waits_for != waited_for and waited_for is not None
        self.over = view.over or (self._is_open and view.waits_for is not None)
        return out if self._is_open else []

    def _id_behind(self, question: str, event: Event) -> str:
        return self._run_id if question == self._answers else f"{self._view.root}:{event.seq}"


class ThreadEncoder:
    """A whole session as one AG-UI stream: one AG-UI run after another, for ``connect``.

    A stream has one open AG-UI run at a time. So what a second run does while the first one is open is held, and
    follows when the first one has ended or waits for its user. Messages and events of the application between the runs
    have AG-UI runs of their own, with ids that begin with ``greenroom:``.

    RUN_STARTED has the input of the run, if it is a text, as a message of the user: a client that comes later shows it.

    Args:
        thread: The id of the AG-UI thread: the name of the session.
    """

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._waiting: dict[str, _Waiting] = {}  # by the id of the topmost run, in the order of their starts
        self._roots: dict[str, str] = {}  # open run -> the topmost one
        self._current: str | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no AG-UI run is open: all runs have ended, or wait for their user."""
        return self._current is None

    def feed(self, event: Event) -> list[AguiEvent]:
        """Return the AG-UI events for the next event of the session, in order."""
        if event.run_id is None:
            return self._between(event) if self.is_idle else noted(event, session_event(event))
        root = self._root_of(event)
        if root is None:
            return []
        self._waiting[root].events.append(event)
        return self._advance(root) if self._current in {None, root} else []

    def _root_of(self, event: Event) -> str | None:
        """Return the id of the topmost run above an event. Return None if the start of that run was not fed."""
        run = str(event.run_id)
        if isinstance(event, AgentStarted):
            root = run if event.parent_run_id is None else self._roots.get(event.parent_run_id)
            if root is None:
                return None
            self._roots[run] = root
            if root == run:
                self._waiting[run] = _Waiting(RunView(self._thread, first_id(event), shows_input=True))
        return self._roots.pop(run, None) if isinstance(event, AgentCompleted) else self._roots.get(run)

    def _advance(self, root: str | None) -> list[AguiEvent]:
        """Return the events that can be sent now: of the run ``root``, then of others if it has ended or waits."""
        out: list[AguiEvent] = []
        while root is not None:
            waiting = self._waiting[root]
            events, waiting.events = waiting.events, []
            for event in events:
                out += waiting.view.feed(event)
            if waiting.view.over:
                del self._waiting[root]
            is_open = not waiting.view.over and waiting.view.waits_for is None
            self._current = root if is_open else None
            root = None if is_open else next((id_ for id_, each in self._waiting.items() if each.events), None)
        return out

    def _between(self, event: Event) -> list[AguiEvent]:
        """Return an event of the session itself as an AG-UI run: outside of a run, AG-UI has no place for it."""
        found, run_id = session_event(event), f"greenroom:{event.seq}"
        if not found:
            return []
        last = build.run_finished(self._thread, run_id, {"type": "success"})
        return noted(event, [build.run_started(self._thread, run_id), *found, last])


@attrs.define
class _Waiting:
    """An open run, and its events that were not sent yet because another run is shown."""

    view: RunView
    events: list[Event] = attrs.field(factory=list["Event"])
