"""Log messages as plain lines on stderr."""

import logging
import sys

OURS = ("hdsynth", "hdmodel", "pipeline", "eval")


class StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: a progress bar puts itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as a line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging's own way: handleError reports it
            self.handleError(record)


def _worth_saying(record: logging.LogRecord) -> bool:
    """Drop what Beam says at import about Google Cloud clients that were never asked for."""
    return not record.getMessage().startswith("apitools not found")


class LineFormatter(logging.Formatter):
    """The bare message; warnings and worse say what they are."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of one record."""
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno > logging.INFO else text


_handler = StderrHandler()


def set_up_logging(*, verbose: bool) -> None:
    """Send log records to stderr: ours from INFO (DEBUG if verbose), others from WARNING."""
    _handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
        if verbose
        else LineFormatter("%(message)s")
    )
    _handler.addFilter(_worth_saying)
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    # It logs with a traceback each error that it then raises.
    logging.getLogger("apache_beam.runners").setLevel(
        logging.DEBUG if verbose else logging.CRITICAL
    )
