"""Log format and request ids. Constant messages with fields; secrets never reach a field."""

import json
import logging
import sys
import time
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for log collectors."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """`12:00:01 info  reconcilers.fleets  fleet state changed  fleet=cad before=STARTING after=RUNNING`."""

    def format(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{k}={v}" for k, v in _fields(record).items())
        name = record.name.removeprefix("fanlight.")
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {name}  {record.getMessage()}"
        line = f"{line}  {extra}" if extra else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _WithoutJunk(logging.Filter):
    """Malformed requests are everyday, and their bytes may be a secret: they leave one line, without bytes or traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and type(error).__module__ == "aiohttp.http_exceptions":
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.msg, record.args = f"malformed request refused: {type(error).__name__}", None
        return True


def configure_logging(*, log_format: str, level: str) -> None:
    """Send everything to stderr in one format. Called once by each process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    # Libraries at debug level write whole requests and SQL parameters, and those hold secrets: they never go below warning.
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("fanlight").setLevel(level.upper())
    logging.getLogger("aiohttp.server").addFilter(_WithoutJunk())
    logging.getLogger("aiohttp.access").disabled = True  # it would log query strings, and those hold tokens
