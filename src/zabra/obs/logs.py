"""Log set-up of the process: one readable line or one JSON object per record, on standard error, naming the server.

::

    2026-11-24 02:37:00,123 zabra:2181 INFO  storage.recovery: replayed 120,000 transactions
    {"time": "2026-11-24T02:37:00.123Z", "level": "INFO", "server": "zabra:2181", "logger": ..., "message": ...}

What clients can cause (garbage on the port, a broken connection) may come in floods: :class:`FloodGate` lets a few of
each kind through and then says how many it held back.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final, TextIO

FORMATS: Final = ("text", "json")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
#: Names that Apache's logging has and Python's has not.
_JAVA_LEVELS: Final = {"TRACE": "DEBUG", "ALL": "DEBUG", "WARN": "WARNING", "FATAL": "ERROR", "OFF": "CRITICAL"}
_PACKAGE: Final = "zabra."


def level_of(name: str) -> str | None:
    """The Python name of a level given as ``info``, ``WARN`` ...; ``None`` for what is no level."""
    upper = _JAVA_LEVELS.get(name.strip().upper(), name.strip().upper())
    return upper if upper in LEVELS or upper == "CRITICAL" else None


class TextFormatter(logging.Formatter):
    """Time, server, level, place, message; local time as log readers expect."""

    def __init__(self, server: str) -> None:
        super().__init__("%(asctime)s " + server.replace("%", "%%") + " %(levelname)-5s %(place)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        record.place = record.name.removeprefix(_PACKAGE)
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line, time in UTC."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def format(self, record: logging.LogRecord) -> str:
        """The object; ``exception`` only where there is one."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "server": self._server,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


class FloodGate(logging.Filter):
    """Lets ``burst`` records of one kind through per ``period`` seconds; a kind is a logger, a level and a template.

    Errors always pass. The first record of the next period says how many were held back.
    """

    def __init__(self, burst: int = 20, period: float = 10.0) -> None:
        super().__init__()
        self._burst = burst
        self._period = period
        #: Kind: end of its period, records seen in it.
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; may append to its message."""
        if record.levelno >= logging.ERROR:
            return True
        kind = (record.name, record.levelno, str(record.msg))
        end, count = self._seen.get(kind, (0.0, 0))
        if record.created >= end:
            self._seen[kind] = (record.created + self._period, 1)
            if count > self._burst:
                held_back = count - self._burst
                record.msg, record.args = f"{record.getMessage()} (and {held_back} more like this were not shown)", None
            return True
        self._seen[kind] = (end, count + 1)
        return count < self._burst


def set_up(server: str, *, level: str = "INFO", log_format: str = "text", stream: TextIO | None = None) -> None:
    """Send the process's log to ``stream`` (standard error), replacing an earlier set-up by this function.

    ``server`` names the server in every record; ``level`` is one of :data:`LEVELS`, ``log_format`` of :data:`FORMATS`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(server) if log_format == "json" else TextFormatter(server))
    handler.addFilter(FloodGate())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, TextFormatter | JsonFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
