"""Where log lines go: `--log-outputs`, `--log-level`, `--log-format`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

from sampan.base.log import Level, Logger
from sampan.store.shell.config import ConfigError, EtcdConfig

__all__ = ["open_log", "stderr_log"]

_STDERR_NAMES = ("default", "stderr", "systemd/journal")


def stderr_log() -> Logger:
    """Return the logger for what happens before there are settings."""
    return Logger(_Writer([sys.stderr]), time.time)


@contextmanager
def open_log(config: EtcdConfig) -> Iterator[Logger]:
    """Open the outputs that `config` names and close the files at the end.

    The standard library's warnings and errors go the same way. Raises ConfigError for a file that
    cannot be written.
    """
    with ExitStack() as files:
        outputs: list[TextIO] = []
        for name in dict.fromkeys(config.log_outputs):
            if name in _STDERR_NAMES:
                outputs.append(sys.stderr)
            elif name == "stdout":
                outputs.append(sys.stdout)
            else:
                try:
                    file = open(name, "a", encoding="utf-8")
                except OSError as error:
                    raise ConfigError(f"--log-outputs {name}: {error.strerror}") from None
                outputs.append(files.enter_context(file))
        logger = Logger(
            _Writer(outputs),
            time.time,
            level=Level.parse(config.log_level),
            console=config.log_format == "console",
        )
        handler = _Bridge(logger)
        logging.getLogger().addHandler(handler)
        files.callback(logging.getLogger().removeHandler, handler)
        yield logger


class _Writer:
    """Writes a line to every output at once, and goes on when one of them is gone."""

    def __init__(self, outputs: list[TextIO]) -> None:
        self._outputs = list(dict.fromkeys(outputs))

    def __call__(self, line: str) -> None:
        for output in self._outputs:
            try:
                output.write(line)
                output.flush()
            except (OSError, ValueError):
                # A closed pipe or a full disk must not end the server.
                continue


class _Bridge(logging.Handler):
    """Passes on what libraries and asyncio report by the standard library's logging."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(logging.WARNING)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = repr(record.exc_info[1])
            fields["stacktrace"] = logging.Formatter().formatException(record.exc_info)
        level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARN
        self._logger.log(level, record.getMessage(), fields)
