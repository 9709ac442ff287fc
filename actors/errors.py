"""Every exception that Greenroom raises, as a tree.

::

    GreenroomError
    ├── ActorError
    │   ├── MailboxFull               tell_nowait on a full mailbox
    │   ├── ActorTerminated           the target is, or became, terminated before it answered
    │   ├── ActorRestarted            the target failed on this message and was restarted
    │   ├── ReplyDropped              the target lost its reply to this message
    │   ├── AskTimeout                no reply in time (also a TimeoutError)
    │   ├── NameTaken                 a living actor has that name already (also a ValueError)
    │   ├── SpecError                 a supervisor or child spec that cannot be run (also a ValueError)
    │   ├── ChildNotFound             a supervisor has no child of that id (also a KeyError)
    │   ├── ChildRunning              the supervisor's child has to be terminated first
    │   ├── MaxChildren               a dynamic supervisor is full
    │   ├── MessageUnhandled          the target returned UNHANDLED for what it was asked
    │   ├── DeathPact                 a watched actor ended, and the watcher does not handle that
    │   ├── StashFull                 an actor stashed more messages than its stash holds
    │   └── RestartLimit              too many restarts: the supervisor gave up
    ├── EventError
    │   ├── UnserialisableEvent       a payload that is not JSON, or too large (also a ValueError)
    │   ├── GrammarError              an event that is not allowed next
    │   └── RunClosed                 an emit outside the life of its run or call
    ├── RunError
    │   ├── RunFailed                 a child run did not end with status ok
    │   ├── RunCancelled              the run of a block was stopped from outside
    │   └── ToolTimeout               a tool took longer than allowed (also a TimeoutError)
    ├── CommandRefused                a client's command was refused, with a code
    ├── SessionClosed                 the session was closed permanently
    ├── LogError
    │   ├── LogUnavailable            the log cannot be reached or written
    │   │   └── LogUncertain          it is not known whether the log has the events
    │   ├── Fenced                    another node owns the user now
    │   ├── AppendRefused             some batches of an append were refused, each with its error
    │   ├── LogCorrupt                the stored data is damaged
    │   ├── LogSchemaTooNew           written by a newer Greenroom
    │   ├── PositionLost              events after the position cannot be read
    │   └── Trimmed                   the position is below the oldest kept event (also a LookupError)
    └── ConfigError                   a setting, log URL or agent that cannot be used (also a ValueError)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class GreenroomError(Exception):
    """The base of all exceptions that Greenroom raises on purpose."""


class ActorError(GreenroomError):
    """The base of errors about an actor, its mailbox or its supervisor."""


class MailboxFull(ActorError):
    """The mailbox of the target actor is full, and the call does not wait for room."""


class ActorTerminated(ActorError):
    """The target actor has ended, perhaps before it answered. ``reason`` is its exit reason."""

    def __init__(self, message: str, reason: object = None) -> None:
        super().__init__(message)
        self.reason = reason


class ActorRestarted(ActorError):
    """The target actor failed while it handled the message of this ask, and was restarted.

    The message became a dead letter (a message that was not handled).
    """


class ReplyDropped(ActorError):
    """The target actor will never answer this ask: it lost the Reply object by which it wanted to answer later."""


class AskTimeout(ActorError, TimeoutError):
    """No reply to the ask came in time. The work of the target actor for this ask was cancelled."""


class AskAbandoned(ActorError):
    """The caller of this ask takes no more parts of the reply: it has left, or the ask has ended."""


class NameTaken(ActorError, ValueError):
    """Another living child of the same parent has this name already."""


class SpecError(ActorError, ValueError):
    """A spec (the description of an actor, child or supervisor) or an argument is invalid.

    The message names the field.
    """


class ChildNotFound(ActorError, KeyError):
    """The supervisor has no child with this id."""


class ChildRunning(ActorError):
    """The child with this id has not ended. Terminate the child before you restart or delete it."""


class MaxChildren(ActorError):
    """The dynamic supervisor has its maximum number of children. A child that is being restarted counts too."""


class MessageUnhandled(ActorError):
    """The target actor does not know this kind of message. The actor did nothing."""


class DeathPact(ActorError):
    """A watched actor ended. The watching actor fails, because it did not handle the ``Terminated`` message."""


class StashFull(ActorError):
    """The actor's stash is full. The message was not stashed."""


class RestartLimit(ActorError):
    """A supervisor gave up, because it needed more than ``max_restarts`` restarts within ``max_seconds`` seconds.

    The exception's cause is the last failure. ``path`` is the supervisor's path in the tree.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class EventError(GreenroomError):
    """The base of errors about a session's events."""


class UnserialisableEvent(EventError, ValueError):
    """The event's data cannot be stored as JSON, or is larger than ``max_event_bytes``.

    The following values cannot be stored: NaN, bytes, cycles, lone surrogates and values that are nested too deep.
    """


class GrammarError(EventError):
    """The event is not allowed now by the rules for the order of a session's events.

    ``rule`` is the broken rule, G1 to G5.
    """

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule


class RunClosed(EventError):
    """The run or tool call has already ended. It has emitted its closing event, and can emit no more events."""


class RunError(GreenroomError):
    """The base of errors about a run of an agent."""


class RunFailed(RunError):
    """A child run (a run that another run started) ended with another status than ``ok``.

    ``status`` is that status; ``code`` and ``error_message`` describe the error.
    """

    def __init__(self, run_id: str, agent: str, status: str, code: str, message: str) -> None:
        super().__init__(f"{agent} ({run_id}) ended {status}: {code}: {message}")
        self.run_id = run_id
        self.agent = agent
        self.status = status
        self.code = code
        self.error_message = message


class RunCancelled(RunError):
    """The run of an ``async with session.run(…)`` block was stopped: by its user, a limit, or the end of the server.

    ``status`` is the status with which the run ended, such as ``cancelled`` or ``timeout``.
    """

    def __init__(self, run_id: str, agent: str, status: str) -> None:
        super().__init__(f"{agent} ({run_id}) was stopped, and ended {status}")
        self.run_id = run_id
        self.agent = agent
        self.status = status


class ToolTimeout(RunError, TimeoutError):
    """The tool did not return within its ``timeout``. Its work was cancelled."""


class CommandRefused(GreenroomError):
    """The server refused a command. ``code`` is one of the error codes that the protocol defines for replies."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class SessionClosed(GreenroomError):
    """The session was closed permanently: clients cannot attach, and runs cannot start.

    The closed session stays in the log for some time. After its removal from the log, the name can be used again.
    """


class LogError(GreenroomError):
    """The base of errors about the event log."""


class LogUnavailable(LogError):
    """The log cannot be read or written now. No part of a failed append is in the log."""


class LogUncertain(LogUnavailable):
    """It is not known whether the log has the events of this append: it was sent, and no answer came in time.

    Do not append the events again. Read the stream's head: it shows whether they are there.
    """


class Fenced(LogError):
    """Another node owns this user now, so this process can append no events of the user. Nothing was changed."""


class AppendRefused(LogError):
    """The log refused some batches of an append. It has none of the batches. The others can be appended without them.

    ``errors`` has the error of each refused batch by its position in the append.
    """

    def __init__(self, errors: Mapping[int, LogError | KeyError]) -> None:
        super().__init__(f"{len(errors)} batches were refused: {next(iter(errors.values()))}")
        self.errors = errors


class LogCorrupt(LogError):
    """The stored data is damaged or contradicts itself. Nothing was changed."""


class LogSchemaTooNew(LogError):
    """The log was written by a newer version of Greenroom. Nothing was changed."""


class PositionLost(LogError):
    """The events after a position cannot be read. ``reason`` is ``epoch_changed``, ``trimmed`` or ``ahead``.

    Read from the beginning instead, and drop the events that you have.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the session's log cannot go on after this position: {reason}")
        self.reason = reason


class Trimmed(LogError, LookupError):
    """The requested events are no longer kept. ``oldest`` is the seq of the oldest event that the stream keeps."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"events below {oldest} are no longer kept")
        self.oldest = oldest


class ConfigError(GreenroomError, ValueError):
    """A setting, a log URL or an agent is invalid. The message names the setting, URL or agent."""
