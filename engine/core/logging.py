"""Structured logs: JSON lines, or colours on a terminal; ids but no message texts and no secrets."""

import logging
import sys
from typing import Any

import structlog

log: Any = structlog.get_logger()

_SECRET_WORDS = ("password", "token", "secret", "authorization", "api_key", "content", "cookie")


def _hide_secrets(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, value in event.items():
        if any(word in name.lower() for word in _SECRET_WORDS) and not isinstance(value, (int, float)):
            event[name] = "[hidden]"
    return event


def set_up_logging(level: str) -> None:
    """Send everything, ours and the libraries', to stderr in one form."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_secrets,
    ]
    on_terminal = sys.stderr.isatty()
    renderer: Any = (
        # Not the prettier ones: they show local variables, and those hold secrets.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    exceptions: list[Any] = [] if on_terminal else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *exceptions, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *exceptions, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
