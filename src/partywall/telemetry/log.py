"""The one logging sink: JSON lines with an allow-list of fields.

No payload, no URL query, no exception text, no locals: what is not a listed field is dropped and counted.
`configure` routes the standard `logging` through the same sink, with the message of our own loggers only.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any, Final, TextIO

FIELDS: Final = frozenset(
    {
        "act", "action", "address", "age_s", "agent", "attempt", "bytes", "code", "count", "duration_ms", "errno",
        "error", "event", "exit_code", "free_bytes", "instance", "key", "leaves", "log", "migration", "path_class",
        "pid", "policy_revision", "port", "process", "reason", "region", "resource_kind", "result", "retry_after_s",
        "revision", "server", "signal", "status", "tenant", "trace_id", "uid", "version", "where", "worker", "workers",
    }
)  # fmt: skip
"""Every field that may be logged; `where` is `file:line function` frames, without text or values."""

LIMIT_CHARACTERS: Final = 256


class Log:
    """Writes events of one process. Values are numbers, booleans, None or short strings."""

    def __init__(self, process: str, stream: TextIO | None = None) -> None:
        self._process = process
        self._stream = stream if stream is not None else sys.stderr

    def info(self, event: str, **fields: Any) -> None:
        """Write one event; event is a constant such as `gateway.ready`."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write one event that somebody should look at."""
        self._write("warning", event, fields)

    def error(self, event: str, error: BaseException | None = None, **fields: Any) -> None:
        """Write one failure: of the error, its class and its frames, never its text."""
        if error is not None:
            fields["error"] = type(error).__name__
            fields["where"] = _frames(error)
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        line: dict[str, Any] = {"time": round(time.time(), 3), "level": level, "process": self._process, "event": event}
        dropped = 0
        for name, value in fields.items():
            if name in FIELDS and (value is None or isinstance(value, (bool, int, float, str))):
                line[name] = value[:LIMIT_CHARACTERS] if isinstance(value, str) else value
            else:
                dropped += 1
        if dropped:
            line["dropped"] = dropped
        self._stream.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._stream.flush()


def _frames(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in reversed(frames))


class _StandardHandler(logging.Handler):
    """Takes what libraries log: logger's name, level and code place, never the message."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning(
            "library.log", where=f"{record.name} {record.filename}:{record.lineno}", reason=record.levelname
        )


def configure(process: str, stream: TextIO | None = None) -> Log:
    """Return the sink of this process, and send the standard logging's warnings through it."""
    log = Log(process, stream)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_StandardHandler(log))
    root.setLevel(logging.WARNING)
    sys.excepthook = lambda _kind, error, _trace: log.error("process.crashed", error)
    return log
