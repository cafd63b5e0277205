"""The command line: one thin file a verb; every verb mirrors a Python call.

Environment variables (read here and nowhere else): ``BYHEART_DEBUG=1`` shows tracebacks.
"""

from __future__ import annotations

import errno
import os
import sys

import typer

from byheart.core.errors import (
    ByheartError,
    CapabilityError,
    EndpointError,
    OutputError,
    UsageError,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="byheart",
    help="Tells what a model, or a memory beside it, knows by heart.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXIT_FINDING = 1
EXIT_USAGE = 2
EXIT_MODEL = 3
EXIT_OUTPUT = 4
EXIT_INTERRUPTED = 130


def _register() -> None:
    if app.registered_groups:  # a second call in one process would add every verb again
        return
    from byheart.cli import audit, bench, diff, listing, memory, page, plan, reproduce, show

    for module in (audit, listing, show, diff, reproduce, bench, memory, page, plan):
        module.register(app)


@app.callback(invoke_without_command=True)
def _top(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from byheart import __version__

        typer.echo(f"byheart {__version__}")
        raise typer.Exit


def _say(error: BaseException) -> None:
    typer.secho(f"byheart: {error}", fg=typer.colors.RED, err=True)


def main() -> None:
    """Entry point: errors become one line and an exit code.

    Exit codes: 0 done; 1 `--fail-on` matched, or a claim did not reproduce; 2 wrong usage or data;
    3 the model failed; 4 results could not be written; 130 interrupted (what was measured is kept).
    """
    _register()
    if os.environ.get("BYHEART_DEBUG"):
        app()
        return
    try:
        app()
    except (UsageError, CapabilityError) as error:
        _say(error)
        sys.exit(EXIT_USAGE)
    except EndpointError as error:
        _say(error)
        sys.exit(EXIT_MODEL)
    except OutputError as error:
        _say(error)
        sys.exit(EXIT_OUTPUT)
    except ByheartError as error:
        _say(error)
        from byheart.core.errors import ModelError

        sys.exit(EXIT_MODEL if isinstance(error, ModelError) else EXIT_USAGE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _say(OutputError(f"cannot print the result: {error.strerror}; free some room"))
        sys.stdout = None  # what is left in it can be written no better when Python ends
        sys.exit(EXIT_OUTPUT)
    except KeyboardInterrupt:
        _say(KeyboardInterrupt("interrupted; finished samples are kept, run it again to go on"))
        sys.exit(EXIT_INTERRUPTED)
