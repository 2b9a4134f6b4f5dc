"""The main program of a worker process on the driver's machine: `python -m pipeline.worker PID`."""

import logging
import os
import sys
import threading
from time import sleep

from hdmodel.allocator import tune_allocator

DRIVER_CHECK_SECONDS = 1.0


def main(driver: int) -> None:
    """Work for a driver until it has no more work, or is gone.

    Args:
        driver: Process number of the driver.
    """
    # Beam's harness logs each of its steps; errors reach the driver as exceptions anyhow.
    logging.disable(logging.ERROR)
    from apache_beam.runners.worker import sdk_worker_main  # already has something to log

    tune_allocator()
    threading.Thread(target=_end_with, args=(driver,), name="driver-watch", daemon=True).start()
    sdk_worker_main.main(sys.argv)


def _end_with(driver: int) -> None:
    """End this process soon after the driver is gone, however that ended.

    A worker left behind by a killed driver would go on writing beside the job that resumes.
    """
    while True:
        try:
            os.kill(driver, 0)
        except ProcessLookupError:
            os._exit(1)
        sleep(DRIVER_CHECK_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]))
