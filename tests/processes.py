"""Other processes for tests of what only one process may hold."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def another_process(code: str, *, says: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code`, has said a line, and waits until it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{code}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == says
            yield process
        finally:
            process.kill()
