"""The recovery of a session from its log. Runs that were left open are closed, and recent commands are remembered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from actors.errors import SessionClosed
from actors.events.encoding import encode
from actors.events.grammar import interrupted
from actors.events.types import Status
from actors.failures import log_line, shown
from actors.runs._recorder import RunRecorder
from actors.sessions._command_memory import CommandMemory
from actors.sessions._commands import CommandReply
from actors.streams._limited import LimitedStream
from actors.streams._signals import Signals
from actors.streams._stream import SessionStream, StreamLimits

if TYPE_CHECKING:
    from actors.eventlog.base import StreamKey
    from actors.sessions._services import SessionServices
    from actors.sessions._tasks import SessionTasks

logger = logging.getLogger("greenroom.sessions")

_MARGIN_BYTES = 1024
"""Number of bytes by which an event that closes an interrupted run is allowed to exceed ``max_event_bytes``.

An interrupted run must be closed even if ``max_event_bytes`` is very small.
"""


def memory_for(key: StreamKey, services: SessionServices) -> CommandMemory:
    """Return an empty memory of commands for a session, with the limits of the settings."""
    settings, account = services.settings, services.accounts.of(key.user)
    return CommandMemory(settings.command_memory_seconds, settings.command_memory_bytes, account.reached)


async def recover(
    key: StreamKey, services: SessionServices, memory: CommandMemory, tasks: SessionTasks, scope: trio.CancelScope
) -> RunRecorder:
    """Make the recorder of a starting session from the session's log.

    Close the runs that were open when the session last ended. Remember the commands that the session had carried out.

    Args:
        key: User and name of the session.
        services: The services that all sessions share.
        memory: Filled with the commands that the session carried out before.
        tasks: Notified if the log fails.
        scope: The cancel scope around all runs of the session.

    Raises:
        SessionClosed: The session was closed permanently, and retention has not removed it yet.
        LogError: The log failed.
    """
    # The session may have ended just before, while its events were being committed: wait for them.
    await services.committer.barrier()
    recorder = await _open(key, services, tasks, scope)
    stream = recorder.stream
    if stream.closed_at is not None:
        await stream.oldest()
        if not stream.outlived:
            await _close_interrupted(key, recorder, services)
            raise SessionClosed(f"session {key.session} was closed permanently")
        # Retention would soon remove this session anyway: remove it now, and begin a new one.
        await services.log.remove(key)
        recorder = await _open(key, services, tasks, scope)
        stream = recorder.stream
    _recall_commands(stream, services, memory)
    if stream.open_runs():
        await _close_interrupted(key, recorder, services)
    return recorder


async def _open(key: StreamKey, services: SessionServices, tasks: SessionTasks, scope: trio.CancelScope) -> RunRecorder:
    """Open the stream of the session, and return a recorder for it. New events follow the newest event in the log."""
    settings = services.settings
    try:
        head = await services.log.make(key)
    except Exception as error:
        services.committer.note_refusal(error)
        raise
    account = services.accounts.of(key.user)
    stream = (SessionStream if account.rate is None else LimitedStream)(
        key,
        head,
        log=services.log,
        committer=services.committer,
        retention=services.retention,
        limits=StreamLimits(
            ring_events=settings.ring_events,
            ring_bytes=settings.ring_bytes,
            window=settings.emit_window,
            command_seconds=settings.command_memory_seconds,
            command_bytes=settings.command_memory_bytes,
        ),
        ages=services.ages,
        account=account,
        on_failure=tasks.on_log_failed,
    )
    if isinstance(stream, LimitedStream) and account.rate is not None:
        stream.limit_by(account.rate)
    signals = Signals(stream.cursors, settings.typing_seconds)
    return RunRecorder(
        stream,
        services.agents,
        settings,
        services.redact,
        signals,
        scope,
        services.threads,
        account,
        services.host,
        services.clock,
        services.meter,
    )


async def _close_interrupted(key: StreamKey, recorder: RunRecorder, services: SessionServices) -> None:
    """Emit closing events with the status ``interrupted`` for all open runs and tool calls, the innermost first.

    The duration of a run or call is counted up to the last committed event. Nothing is known of the time after this
    event. They count as ended when that is committed: *after a failed commit, the next session closes them again.*
    """
    stream = recorder.stream
    last_ts = stream.ts
    ended: list[tuple[str, str, float]] = []
    if runs := len(stream.open_runs()):
        text = "session %s of user %s: closed %s as interrupted, because the server or the session had ended before"
        count = "1 run" if runs == 1 else f"{runs} runs"
        fields = {"user": key.user, "session": key.session}
        log_line(logger, logging.WARNING, text, shown(key.session), shown(key.user), count, fields=fields)
    for closing in stream.grammar.closings():
        item = closing.item
        call_id = None if item.id == item.run_id else item.id
        data = encode(interrupted(closing, last_ts), services.settings.max_event_bytes + _MARGIN_BYTES)
        if recorder.close(closing.type, data, item.run_id, call_id):
            ended.append((closing.type, item.name, max(0, last_ts - item.started) / 1000))
    await stream.synced()
    for event, name, seconds in ended:
        recorder.meter.ended(event, name, Status.INTERRUPTED, seconds)


def _recall_commands(stream: SessionStream, services: SessionServices, memory: CommandMemory) -> None:
    """Remember the commands that the session carried out before it was restarted.

    A client that sends one of these commands again gets the same reply as before.
    """
    now, at = services.ages.now(services.settings.command_memory_seconds), trio.current_time()
    stream.done.forget(now)
    for done in stream.done:
        # Convert the time from the log's clock (ms since 1970) to trio's clock (s), which the memory uses.
        memory.recall(CommandReply(done.command_id, done.result), at - max(0, now - done.ts) / 1000)
