"""The `mdic` command as a whole: its commands, how it reports errors, and how it ends.

The modules of the commands import nothing heavy before they run, so that `mdic --help` is quick and works where the
workstation's libraries are missing.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mdic_ros import __version__
from mdic_ros.cli import bag, bench, decode, encode, export, info, pack, train
from mdic_ros.cli import eval as evaluation
from mdic_ros.cli.console import Warnings, say
from mdic_ros.cli.options import UsageError
from mdic_ros.cli.signals import orderly_exit
from mdic_ros.errors import MdicError


class _Group(TyperGroup):
    """Says that a command was interrupted; the library would end without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="mdic",
    cls=_Group,
    help="Distributed image compression for stereo cameras: one camera's images in a few hundred bytes each, decoded "
    "with the picture of the other camera.",
    epilog="A recording is KITTI, EuRoC, Cityscapes, a folder with left and right, or a bag. Sizes are height x width.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
bag_app = typer.Typer(help="Recordings into bags, bags into pictures, a look into bags.", no_args_is_help=True)

app.command("encode")(encode.encode)
app.command("decode")(decode.decode)
app.command("info")(info.info)
app.add_typer(bag_app, name="bag")
bag_app.command("write")(bag.write)
bag_app.command("images")(bag.images)
bag_app.command("info")(bag.info)
app.command("eval")(evaluation.evaluate)
app.command("bench")(bench.bench)
app.command("pack")(pack.pack)
app.command("train")(train.train)
app.command("export")(export.export)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mdic_ros {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Options of `mdic` itself."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `mdic` and exit.

    Exit codes: 0; 1 when the job could not be done; 2 when the call makes no sense; 130, 143 and 129 after Ctrl-C,
    SIGTERM and SIGHUP. What a user can mend is one sentence. Anything else is a bug and shows its traceback.
    """
    with _warnings(), orderly_exit():
        try:
            app(args=None if arguments is None else list(arguments), prog_name="mdic")
        except UsageError as error:
            say(f"error: {error}")
            sys.exit(2)
        except MdicError as error:
            say(f"error: {error}")
            sys.exit(1)
        except OSError as error:
            say(f"error: {error.filename or ''}: {error.strerror or error}".replace("error: : ", "error: "))
            sys.exit(1)
        except Exception:
            traceback.print_exc()
            say(
                f"This is a bug of mdic_ros {__version__}, not of your input. A report of it needs the lines above, "
                "the command and, if you may give it away, the input."
            )
            sys.exit(1)
        sys.exit(0)


@contextmanager
def _warnings() -> Iterator[None]:
    """Warnings of this package are printed as lines."""
    logger, handler = logging.getLogger("mdic_ros"), Warnings()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
