"""The main program of a worker process: `python -m pipeline.rendering.worker DIR`.

The driver starts it, on its own machine.
"""

import logging
import os
import signal
import sys
import threading
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from time import sleep

from hdmodel.allocator import tune_allocator
from pipeline.output.lock import lock_holder

CHECK_SECONDS = 0.5


def main(folder: Path) -> None:
    """Work for a driver until it has no more work, or is gone.

    Args:
        folder: A folder that the driver holds the lock of while its run lasts.
    """
    # An interrupt of the terminal is the driver's to handle; Beam's harness logs each of its
    # steps; errors reach the driver as exceptions anyhow.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    from apache_beam.runners.worker import sdk_worker_main  # already has something to log

    tune_allocator()
    threading.Thread(target=_end_with, args=(folder,), name="driver-watch", daemon=True).start()
    said = StringIO()
    try:
        with redirect_stderr(said):
            sdk_worker_main.main(sys.argv)
    finally:
        # What it says when the driver hangs up is of no interest to anybody.
        running, _ = lock_holder(folder)
        if not running:
            os._exit(0)
        sys.stderr.write(said.getvalue())


def _end_with(folder: Path) -> None:
    """End this process soon after the run of the driver ended, however that was.

    A worker left behind by a killed driver would go on writing beside the job that resumes.
    """
    while True:
        running, _ = lock_holder(folder)
        if not running:
            os._exit(0)
        sleep(CHECK_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
