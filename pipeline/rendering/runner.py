"""Runners: Beam's own with our worker processes, or the one a user names."""

import os
import shlex
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.transforms.environments import (
    EmbeddedPythonEnvironment,
    Environment,
    SubprocessSDKEnvironment,
)

from hdmodel.errors import ConfigError
from pipeline.errors import RunError
from pipeline.output.lock import locked

POLL_SECONDS = 0.5
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class JobRunner:
    """What a pipeline runs on."""

    options: PipelineOptions
    named: PipelineRunner | None
    """The runner that the user named, or None for Beam's own on this machine."""

    @classmethod
    def choose(cls, beam_options: Sequence[str]) -> "JobRunner":
        """Understand a user's Beam options before anything is written.

        Raises:
            ConfigError: Beam does not know an option, a value or the runner, or the runner's job
                service does not answer.
        """
        for option in beam_options:
            if not option.startswith("-"):
                raise ConfigError(f"Beam option {option!r}: expected --name or --name=value")
        complaint = StringIO()
        try:
            with redirect_stderr(complaint):
                options = PipelineOptions(list(beam_options))
                known = options.get_all_options()
        except SystemExit:
            reason = complaint.getvalue().strip().splitlines()[-1].partition("error: ")[2]
            raise ConfigError(f"Beam options: {reason}") from None
        for option in beam_options:
            name = option.lstrip("-").partition("=")[0]
            if name.removeprefix("no_") not in known:
                raise ConfigError(f"Beam does not know the option {option!r}")
            if name.startswith("direct_num_workers"):
                raise ConfigError(f"Beam option {option!r}: use --workers instead")
        name = options.view_as(StandardOptions).runner
        if name is None:
            return cls(options, None)
        endpoint = options.view_as(PortableOptions).job_endpoint
        if endpoint not in (None, "", "embed"):
            _check_answers(endpoint)
        try:
            return cls(options, create_runner(name))
        except (ValueError, ImportError, AttributeError) as error:
            raise ConfigError(f"Beam runner {name!r}: {error}") from None

    def run(self, build: Callable[[beam.Pipeline], object], *, workers: int) -> None:
        """Build a pipeline and run it to its end.

        Args:
            build: Adds the transforms to the pipeline.
            workers: Worker processes on this machine; not used with a user's runner.

        Raises:
            RunError: The pipeline failed, or one of its worker processes died.
        """
        if self.named is not None:
            self._run(build, self.named)
            return
        self.options.view_as(DirectOptions).direct_num_workers = workers
        if workers == 1:
            self._run(build, FnApiRunner(EmbeddedPythonEnvironment.default()))
            return
        with (
            tempfile.TemporaryDirectory(prefix="hdsynth-run-") as folder,
            locked(Path(folder)),
            _threads_per_worker(workers),
        ):
            died = Path(folder) / "died"
            runner = FnApiRunner(_worker_environment(Path(folder), died))
            _run_watched(lambda: self._run(build, runner), died)

    def _run(self, build: Callable[[beam.Pipeline], object], runner: PipelineRunner) -> None:
        # The runner is always named: Beam's default first tries to fetch another engine.
        pipeline = beam.Pipeline(runner=runner, options=self.options)
        build(pipeline)
        try:
            pipeline.run().wait_until_finish()
        except RuntimeError as error:
            # Errors of worker processes arrive as text; the last line is the error itself.
            raise RunError(str(error).strip().splitlines()[-1]) from error


def _worker_environment(folder: Path, died: Path) -> Environment:
    """Worker processes of ours; the shell around one outlives it, and tells how it ended."""
    worker = shlex.join([sys.executable, "-P", "-m", "pipeline.rendering.worker", str(folder)])
    return SubprocessSDKEnvironment.from_command_string(
        f"{worker} || echo $? > {shlex.quote(str(died))}"
    )


def _run_watched(run: Callable[[], None], died: Path) -> None:
    """Run in another thread, and give up when a worker process died: Beam would wait for ever."""
    done: Future[None] = Future()

    def work() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=work, name="beam", daemon=True).start()
    while True:
        try:
            return done.result(timeout=POLL_SECONDS)
        except TimeoutError:
            if not done.done() and died.exists():
                raise RunError(
                    f"a worker process died (exit status {died.read_text().strip()}); "
                    "137 means killed, most often because memory ran out"
                ) from None


def _check_answers(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"Beam job service {endpoint!r}: does not answer ({error})") from None


@contextmanager
def _threads_per_worker(workers: int) -> Iterator[None]:
    """Let worker processes share the cores instead of each taking all of them."""
    previous = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    try:
        yield
    finally:
        if previous is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = previous
