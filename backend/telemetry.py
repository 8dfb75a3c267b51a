"""Log lines and metrics. JSON lines on stderr; secrets never reach them."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from backend.errors import UserError

SECRET_WORDS = ("token", "password", "secret", "authorization", "api_key", "access_key")

REQUESTS = Counter("ls_active_requests_total", "Requests answered.", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "ls_active_request_seconds", "Seconds from request to answer.", ["route"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100),
)  # fmt: skip
PREDICTED = Counter("ls_active_predicted_tasks_total", "Tasks predicted.")
EVENTS = Counter("ls_active_events_total", "Webhook events received.", ["action"])


def metrics(labels: Mapping[int, int], audit_accuracy: Mapping[int, float]) -> bytes:
    """All metrics, as Prometheus reads them: what this process counted, and what is given of each project's number."""
    given = CollectorRegistry()
    for name, text, values in (
        ("ls_active_labels", "Labelled tasks of a project.", labels),
        ("ls_active_audit_accuracy", "Accuracy of the active version on held-out tasks.", audit_accuracy),
    ):
        gauge = Gauge(name, text, ["project"], registry=given)
        for project, value in values.items():
            gauge.labels(project).set(value)
    return generate_latest() + generate_latest(given)


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if any(word in key.lower() for word in SECRET_WORDS):
            event[key] = "[redacted]"
    return event


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Whether to write a record of the standard library's loggers down.

    An error that a person can mend is one warning with its sentence, no traceback; and none as long as the job engine
    tries again, which it says at a lower level.
    """
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, UserError):
        return True
    if record.levelno < logging.ERROR:
        return False
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    record.msg, record.args = f"{record.getMessage()} {error.sentence()}", ()
    record.exc_info = record.exc_text = None
    return True


def configure_logging(level: str) -> None:
    """JSON lines on stderr for our own loggers and for the standard library's, at ``level`` and above."""
    number = logging.getLevelName(level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact,
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    handler.addFilter(_worth_a_line)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(number)
    for noisy in ("httpx", "httpcore", "urllib3", "filelock", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(max(number, logging.WARNING))
    # the job engine writes plain text beside these lines unless its logger has a handler
    logging.getLogger("dbos").handlers[:] = [logging.NullHandler()]


def logger(name: str) -> Any:
    """A structlog logger with ``part`` set to ``name``; it takes its configuration at the first line, not now."""
    return structlog.get_logger(part=name)
