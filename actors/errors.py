"""Every exception that Greenroom raises, as a tree.

::

    GreenroomError
    ├── ActorError
    │   ├── MailboxFull               tell_nowait on a full mailbox
    │   ├── ActorTerminated           the target is, or became, terminated before it answered
    │   ├── ActorRestarted            the target failed on this very message and was restarted
    │   ├── ReplyDropped              the target lost its reply to this very message
    │   ├── AskTimeout                no reply in time (also a TimeoutError)
    │   ├── NameTaken                 a living actor has that name already (also a ValueError)
    │   ├── SpecError                 a supervisor or child spec that cannot be run (also a ValueError)
    │   ├── ChildNotFound             a supervisor has no child of that id (also a KeyError)
    │   ├── ChildRunning              the supervisor's child has to be terminated first
    │   ├── MaxChildren               a dynamic supervisor is full
    │   ├── MessageUnhandled          the target returned UNHANDLED for what it was asked
    │   ├── DeathPact                 a watched actor ended, and the watcher does not handle that
    │   ├── StashFull                 an actor put more aside than its stash holds
    │   └── RestartLimit              more restarts than the intensity allows: the supervisor gave up
    ├── EventError
    │   ├── UnserialisableEvent       a payload that is not JSON, or too large (also a ValueError)
    │   ├── GrammarError              an event that may not stand there
    │   └── RunClosed                 an emit outside the life of its run or call
    ├── RunError
    │   ├── RunFailed                 a child run did not end ok
    │   └── ToolTimeout               a tool took longer than allowed (also a TimeoutError)
    ├── CommandRefused                what a client's command may be answered with, by code
    ├── SessionClosed                 the session was closed for good
    ├── LogError
    │   ├── LogUnavailable            the log cannot be reached or written
    │   ├── LogCorrupt                what is stored contradicts itself
    │   ├── LogSchemaTooNew           written by a newer Greenroom
    │   └── Trimmed                   the position is below what the stream keeps (also a LookupError)
    └── ConfigError                   a setting, log URL or agent that cannot be used (also a ValueError)
"""

from __future__ import annotations


class GreenroomError(Exception):
    """The root: catch this to catch everything that Greenroom raises on purpose."""


class ActorError(GreenroomError):
    """Something about an actor, its mailbox or its supervisor."""


class MailboxFull(ActorError):
    """The mailbox has no room and the caller did not want to wait."""


class ActorTerminated(ActorError):
    """The target is, or became, terminated; ``reason`` is its exit reason."""

    def __init__(self, message: str, reason: object = None) -> None:
        super().__init__(message)
        self.reason = reason


class ActorRestarted(ActorError):
    """The target failed while it handled this message; the message is a dead letter, the actor goes on."""


class ReplyDropped(ActorError):
    """The target deferred its reply to this message and lost it: it was freed without an answer."""


class AskTimeout(ActorError, TimeoutError):
    """No reply came in time; the callee's work for the request was cancelled."""


class NameTaken(ActorError, ValueError):
    """Names are unique among the living children of one parent."""


class SpecError(ActorError, ValueError):
    """A spec was refused at start; the message names the field."""


class ChildNotFound(ActorError, KeyError):
    """The supervisor has no child of that id."""


class ChildRunning(ActorError):
    """The child of that id has not ended: it can be neither restarted nor deleted."""


class MaxChildren(ActorError):
    """The dynamic supervisor has as many children as it may, those that are restarting among them."""


class MessageUnhandled(ActorError):
    """The target does not know this kind of message; nothing was done."""


class DeathPact(ActorError):
    """A watched actor ended and its watcher returned UNHANDLED for the news: the watcher fails with this."""


class StashFull(ActorError):
    """The stash has no room; the message was not put aside."""


class RestartLimit(ActorError):
    """A supervisor gave up: more than ``max_restarts`` within ``max_seconds``; the last failure is its cause.

    ``path`` is the place of the supervisor in the tree.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class EventError(GreenroomError):
    """Something about an event."""


class UnserialisableEvent(EventError, ValueError):
    """The payload is not JSON (NaN, bytes, cycles, lone surrogates, too deep) or over ``max_event_bytes``."""


class GrammarError(EventError):
    """The event may not stand there; ``rule`` is G1 to G5 of the session's grammar."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


class RunClosed(EventError):
    """The run or call is over: nothing of it may follow its closing event."""


class RunError(GreenroomError):
    """Something that happened in a run."""


class RunFailed(RunError):
    """A child run ended with another status than ``ok``; ``status``, ``code`` and ``error_message`` say how."""

    def __init__(self, run_id: str, agent: str, status: str, code: str, message: str) -> None:
        super().__init__(f"{agent} ({run_id}) ended {status}: {code}: {message}")
        self.run_id = run_id
        self.agent = agent
        self.status = status
        self.code = code
        self.error_message = message


class ToolTimeout(RunError, TimeoutError):
    """The tool did not return within its ``timeout``; its work was cancelled."""


class CommandRefused(GreenroomError):
    """A command was refused; ``code`` is one of the error codes of replies in the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SessionClosed(GreenroomError):
    """The session was closed for good: nobody attaches to it and nothing starts in it, until retention removes it."""


class LogError(GreenroomError):
    """Something about the event log."""


class LogUnavailable(LogError):
    """The log cannot be reached or written; nothing of the failed append is in it."""


class LogCorrupt(LogError):
    """What is stored contradicts itself; nothing was changed."""


class LogSchemaTooNew(LogError):
    """The log was written by a newer Greenroom; nothing was changed."""


class Trimmed(LogError, LookupError):
    """The position is below what the stream keeps; ``oldest`` is the lowest seq it has."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events below {oldest} are no longer kept")
        self.oldest = oldest


class ConfigError(GreenroomError, ValueError):
    """A setting, a log URL or an agent that cannot be used; the message names it."""
