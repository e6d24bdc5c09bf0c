"""What the library logs, as lines on standard error, for commands that run for long."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trimtab.cli.ending import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shown_log"]


@contextmanager
def shown_log(name: str = "trimtab") -> Iterator[None]:
    """Show warnings and errors of the library, one line each, for as long as the block lasts.

    `name` is the logger's, for a part of the library.
    """
    logger, handler = logging.getLogger(name), _Lines(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())
