"""The bytes of an event's line: how a line is built, and how ``seq`` and ``ts`` are read from it. Pure.

A line is the JSON text of one event in UTF-8, without a raw line feed. It is built once; the same bytes are stored in
the log and sent to clients::

    {"seq":12                                       LINE
    ,"ts":1700000000000,                            STAMP
    "type":"agent_output","run_id":"r-1","data":    envelope()
    {"text":"Hello"}                                the data, from actors.events.encoding
    }                                               END

``seq`` and ``ts`` come first, so that both can be read without decoding the rest.

The formats are constants, because :meth:`~actors.streams._stream.SessionStream.put` fills them in without a function
call: it runs once for each event. Other code calls :func:`build_line`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from actors.errors import LogCorrupt

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE = b'{"seq":%d%b%b%b%b'
"""Format of an event's line, filled in with ``%``.

The arguments are the ``seq``, a filled :data:`STAMP`, an :func:`envelope`, the data, and the bytes that end the line.
"""

STAMP = b',"ts":%d,'
"""Format of the time in an event's line, filled in with ``%``. The argument is the ``ts``, in ms since 1970."""

END = b"}"
"""The bytes that end an event's line, after the data."""

TEXT_BEGIN = b'{"text":'
"""The beginning of an event's data that has only a text (``agent_output``, ``agent_thinking``). The text follows."""

TEXT_END = b"}}"
"""The bytes that end the data and the line of an event if its data began with :data:`TEXT_BEGIN`."""

_SEQ = b'{"seq":%d,'
_SEQ_OF = re.compile(rb'\{"seq":(\d+)[,}]')
_SEQ_AND_TS = re.compile(rb'\{"seq":\d+,"ts":(\d+)[,}]')
_TYPE = re.compile(rb'\{"seq":\d+,"ts":\d+,"type":"([^"\\]*)"')

# Up to this many lines, comparing each whole number is cheaper than the comparison of last digits.
_FEW = 4
# The last digits of consecutive numbers. A batch of more than about a thousand lines is longer than this list, so it is
# checked number by number.
_LAST_DIGITS = [*b"0123456789"] * 101


def envelope(event: str, run_id: str | None, parent_run_id: str | None = None, call_id: str | None = None) -> bytes:
    """Return the part of an event's line between ``ts`` and the value of ``data``: the event's type and its ids.

    ``event`` is the name of the type. Ids that are None are left out.
    """
    fields = {"type": event}
    if run_id is not None:
        fields["run_id"] = run_id
    if parent_run_id is not None:
        fields["parent_run_id"] = parent_run_id
    if call_id is not None:
        fields["call_id"] = call_id
    return orjson.dumps(fields)[1:-1] + b',"data":'


def build_line(seq: int, ts: int, head: bytes, data: bytes) -> bytes:
    """Return an event as a line: the bytes that the log stores and that clients get.

    ``ts`` is in ms since 1970, ``head`` is a result of :func:`envelope`, and ``data`` is JSON text.
    """
    return LINE % (seq, STAMP % ts, head, data, END)


def timestamp(line: bytes) -> int:
    """Return the time of an event's line, in ms since 1970. Raise ``LogCorrupt`` if the line has no integer ``ts``."""
    found = _SEQ_AND_TS.match(line)
    if found is not None:
        return int(found[1])
    # A line that another program wrote may have its fields in another order, or spaces.
    try:
        ts: object = orjson.loads(line)["ts"]
    except (ValueError, TypeError, KeyError) as error:
        raise LogCorrupt(f"no ts in line {line[:60]!r}") from error
    if not isinstance(ts, int):
        raise LogCorrupt(f"ts is not an integer in line {line[:60]!r}")
    return ts


def seq_of(line: bytes) -> int:
    """Return the ``seq`` of an event's line. Raise ``LogCorrupt`` if the line has no integer ``seq``."""
    found = _SEQ_OF.match(line)
    seq = int(found[1]) if found is not None else _decoded_seq(line)
    if not isinstance(seq, int):
        raise LogCorrupt(f"no seq in line {line[:60]!r}")
    return seq


def event_type(line: bytes) -> bytes:
    """Return the type of an event's line, as UTF-8. Return ``b""`` if the line has no type."""
    found = _TYPE.match(line)
    if found is not None:
        return found[1]
    # As above: a line in another form.
    try:
        return str(orjson.loads(line)["type"]).encode()
    except (ValueError, TypeError, KeyError):
        return b""


def check_numbers(stream: object, first: int, lines: Sequence[bytes], count: int) -> None:
    """Raise ``LogCorrupt`` unless the ``count`` lines are numbered ``first``, ``first + 1`` and so on.

    The number of a line is its ``seq``. A line usually begins ``{"seq":12,``, but any JSON with the right ``seq`` is
    accepted. ``stream`` is shown in the error message.

    *A gap in a stored stream cannot be repaired: every client would find the gap, reconnect, and find it again.*
    """
    seq = first
    begin = _SEQ % seq
    size = len(begin)
    # The usual case, in a third of the time that a comparison of every whole number takes: compare the first and the
    # last number, and between them the last digit of each. If a line were missing or there twice, this many lines would
    # not lead from the first number to the last one.
    if count > _FEW and lines[0][:size] == begin and lines[-1][:size] == _SEQ % (seq + count - 1):
        try:
            if [line[size - 2] for line in lines] == _LAST_DIGITS[seq % 10 : seq % 10 + count]:
                return
        except IndexError:
            pass  # a line is shorter than its number: the loop below reports it
    for line in lines:
        if line[:size] != _SEQ % seq:
            begin = _SEQ % seq
            size = len(begin)  # this number may have one digit more than the previous number
            if line[:size] != begin and _decoded_seq(line) != seq:
                raise LogCorrupt(f"{stream} from {first}: event {seq} begins {line[: size + 8]!r}")
        seq += 1


def _decoded_seq(line: bytes) -> object:
    """Return the ``seq`` of a line in any JSON format. Return None if the line has no ``seq``."""
    try:
        return orjson.loads(line)["seq"]
    except (ValueError, TypeError, KeyError):
        return None
