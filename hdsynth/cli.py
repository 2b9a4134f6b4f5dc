"""The `hdsynth` command: its table of commands, and what every command shares."""

import importlib
import logging
import os
import sys
from typing import Any, NoReturn

import click

from hdsynth import __version__
from hdsynth.installation import misplaced_package
from hdsynth.logs import set_up_logging

COMMANDS = {
    "demo": "hdsynth.commands.demo:demo",
    "sample-world": "hdsynth.commands.sample_world:sample_world",
    "validate": "hdsynth.commands.validate:validate",
    "plan": "hdsynth.commands.render:plan",
    "render": "hdsynth.commands.render:render",
    "status": "hdsynth.commands.output:status",
    "verify": "hdsynth.commands.output:verify",
    "replay": "hdsynth.commands.output:replay",
    "apply": "hdsynth.commands.apply:apply",
    "preview": "hdsynth.commands.output:preview",
    "audit": "hdsynth.commands.audit:audit",
    "eval": "hdsynth.commands.eval:evaluate",
    "init-generator": "hdsynth.commands.init_generator:init_generator",
    "import-pix2pixhd": "hdsynth.commands.import_pix2pixhd:import_pix2pixhd",
    "import-vgg": "hdsynth.commands.import_vgg:import_vgg",
    "train": "hdsynth.commands.train:train",
    "train-scorer": "hdsynth.commands.train_scorer:train_scorer",
    "donors": "hdsynth.commands.donors:donors",
    "priors": "hdsynth.commands.priors:priors",
    "styles": "hdsynth.commands.styles:styles",
    "configs": "hdsynth.commands.configs:configs",
}
"""Command name to `module:attribute`, in the order of the help text; loaded when asked for."""

EXIT_INPUT = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141


class LazyGroup(click.Group):
    """The commands of the table, imported when used, with hdsynth's exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The command names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole first sentence."""
        rows = [
            (name, command.get_short_help_str(limit=200))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name))
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run, or name the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from hdmodel.suggestions import did_you_mean  # after the check of the packages

            hint = did_you_mean(name, COMMANDS, before=" ")
            ctx.fail(f"No such command {name!r}.{hint.replace('did', 'Did', 1)}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's own signature
        """Run the command line on `sys.argv`, or on the arguments given; exits when done."""
        # Worker processes inherit this: a pipeline.py in the user's folder is never ours.
        os.environ["PYTHONSAFEPATH"] = "1"
        problem = misplaced_package()
        if problem:
            click.echo(f"hdsynth: error: {problem}", err=True)
            sys.exit(EXIT_INPUT)
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run a command, turning errors into one line and an exit code."""
        from hdmodel.errors import HdsynthError

        verbose = bool(ctx.params.get("verbose"))
        try:
            return super().invoke(ctx)
        except HdsynthError as error:
            _fail(str(error), verbose=verbose)
        except BrokenPipeError:
            # The reader is gone; nothing more can be said, not even at the last flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_PIPE_CLOSED)
        except (KeyboardInterrupt, click.Abort):
            click.echo("hdsynth: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except OSError as error:
            # Disk full, no permission, path in the way: the message names the file.
            _fail(str(error), verbose=verbose)
        except Exception:  # exit code 1 would say that only some samples failed
            logging.getLogger("hdsynth").exception("this is a bug in hdsynth, please report it")
            sys.exit(EXIT_BUG)


def _fail(message: str, *, verbose: bool) -> NoReturn:
    if verbose:
        logging.getLogger("hdsynth").debug("The error came from here:", exc_info=True)
    click.echo(f"hdsynth: error: {message}", err=True)
    sys.exit(EXIT_INPUT)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`hdsynth COMMAND --help` explains a command. "
    "Exit codes: 0 done; 1 finished, but some samples failed; 2 the input or the command is "
    "wrong; 3 a quality gate failed; 70 a bug in hdsynth; 130 interrupted.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show debug messages, and where errors arose.")
@click.version_option(__version__, prog_name="hdsynth", message="%(prog)s %(version)s")
def main(*, verbose: bool) -> None:
    """Turn a labelled dataset into a larger, re-arranged, re-rendered one.

    hdsynth reads label and instance maps, edits them, renders each edited map to a photo with a
    pix2pixHD generator, and writes photos, labels and instance maps as zarr shards.

    New here? `hdsynth demo` shows all of it in a few minutes.
    """
    set_up_logging(verbose=verbose)
