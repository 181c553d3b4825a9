"""Logs as JSON, one object a line; request ids in all of them, pictures and secrets in none."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from linegroup.serving.tracing import CURRENT

_OWN = frozenset(vars(logging.makeLogRecord({})))


class JsonFormatter(logging.Formatter):
    """A record with what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        tree: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if CURRENT.get():
            tree["request_id"] = CURRENT.get()
        tree |= {name: value for name, value in vars(record).items() if name not in _OWN and name != "taskName"}
        if record.exc_info:
            tree["exception"] = self.formatException(record.exc_info)
        return json.dumps(tree, ensure_ascii=False, default=str)


def configure_logs(level: str = "info") -> None:
    """Send the package's log to standard error as JSON; calling again changes the level only."""
    logger = logging.getLogger("linegroup")
    logger.setLevel(level.upper())
    if not any(isinstance(handler.formatter, JsonFormatter) for handler in logger.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.propagate = False
