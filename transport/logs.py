"""Log lines as JSON, for programs that collect them: one object for each line, with the ids that it is about.

``greenroom serve`` writes them with the setting ``log_format=json``. In a program of your own::

    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level="INFO")
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, cast

from actors import current_run

FORMATS = ("text", "json")
"""The values of the setting ``log_format``."""
_IDS = ("user", "session", "run", "connection", "reference")


class JsonFormatter(logging.Formatter):
    """A formatter for the handlers of :mod:`logging` that writes each line as a JSON object.

    Its fields are ``time`` (ISO 8601, in UTC), ``level``, ``logger`` and ``message``; ``exception`` with a traceback;
    and where they are known, ``user``, ``session`` and ``run`` (of the run whose code logs, also in its threads),
    ``connection``, and the ``reference`` that a client was given.
    """

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the fields of a line, in their order. A subclass may add fields."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids_of(record),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if text := "\n".join(filter(None, (record.exc_text, record.stack_info))):
            line["exception"] = text
        return line

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without a line end."""
        # A lone surrogate becomes a question mark: its escape would be no JSON for strict readers.
        return json.dumps(self.fields(record), ensure_ascii=False).encode("utf-8", "replace").decode()


def _ids_of(record: logging.LogRecord) -> dict[str, str]:
    """Return the ids that a record is about: its own, and those of the run that logs."""
    found: dict[str, str] = {}
    if (run := current_run()) is not None:
        found = {"user": run.user, "session": run.session, "run": run.run_id}
    given: Any = getattr(record, "greenroom", None)
    if isinstance(given, dict):
        ids = cast("dict[str, object]", given)
        found |= {name: str(ids[name]) for name in _IDS if name in ids}
    return found
