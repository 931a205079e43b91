"""The `harness` command. Heavy modules are imported inside the commands; only this folder prints."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import click

from harness import __version__
from harness.cli.compare import compare, tune
from harness.cli.evaluate import eval, grade
from harness.cli.gate import gate
from harness.cli.installed import doctor, pico, tasks, trainers
from harness.cli.leaderboard import leaderboard
from harness.errors import HarnessError


class _Commands(click.Group):
    """A group that lists its commands in the order users need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="harness")
def cli() -> None:
    """Find out which way of training a small reasoning language model really works.

    \b
      harness compare                        train sft, kd, rl and kd+rl on two small tasks, write a leaderboard
      harness compare --dry-run              show what would be trained, and its cost
      harness tune --try rl.learning_rate=1e-5,1e-4   compare settings on dev items
      harness eval --model DIR --task gsm8k  evaluate one model
      harness grade --task humaneval ...     grade generations from anywhere
      harness leaderboard build RUN RUN --out board.md   one board of existing runs
      harness gate check --model DIR         may this checkpoint replace the released one?
      harness doctor                         what is installed, which engine and sandbox will be used
    """


for _command in (compare, tune, eval, grade, leaderboard, gate, tasks, trainers, pico, doctor):
    cli.add_command(_command)


def main() -> None:
    """Entry point. A failure that the user can fix is one paragraph and an exit code, never a traceback."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HarnessError as error:
        click.echo("error: " + str(error).replace("\n::", "\n ::"), err=True)  # no workflow command for a CI
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted: everything finished is kept; run the same command again to continue", err=True)
        sys.exit(130)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
