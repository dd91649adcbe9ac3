"""What all commands share: the list of commands, exit codes, `--json`, and the one place that catches HwsimError."""

from __future__ import annotations

import errno
import json
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

import click

from hwsim.errors import HwsimError

FINE, MISMATCH, BAD_USE = 0, 1, 2

# command -> its one line in `hwsim --help`; each stands in hwsim/cli/COMMAND.py as a function of that name
COMMANDS = {
    "demo": "The main job on a small network that comes with hwsim: start here.",
    "quantize": "A float network and calibration images -> a network in integers.",
    "score": "Top-1 and top-5 over a data set, with the float network beside it.",
    "run": "One image, layer by layer.",
    "explain": "One output of a layer, step by step through its accumulator.",
    "overflow": "Proofs that accumulators hold every sum, or the inputs that overflow them.",
    "vectors": "One image -> golden vectors of every layer.",
    "export": "A network in integers -> an ONNX file that onnxruntime runs.",
    "check": "A golden package computed again, or a device's dump compared with it.",
    "conform": "Public suites of other people's tests, run on hwsim: passed / total.",
    "show": "The contract of a network or of a golden package.",
    "info": "Versions, backends, instruction sets and HWSIM_* variables of this installation.",
}


class Commands(click.Group):
    """Loads the file of a command when it is called: `hwsim --help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(import_module(f"hwsim.cli.{cmd_name}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hwsim", prog_name="hwsim")
def cli() -> None:
    """Run convolutional networks the way an accelerator does: in integers, in a declared order, bit for bit.

    Start with `hwsim demo`. Exit codes: 0 fine, 1 mismatch, 2 bad use.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """The `hwsim` command: one sentence on stderr and exit code 2 for every error that a user can cause."""
    own_process = arguments is None
    if own_process:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # to be ended is to be interrupted: clean up, and say so
    try:
        code = cli.main(args=arguments, prog_name="hwsim", standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = _complain("interrupted; nothing half-written stands under a final name.")
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except HwsimError as error:
        code = _complain(str(error))
    except OSError as error:
        code = _os_error(error)
    except MemoryError:
        code = _complain("out of memory; use a smaller --limit or close other programs.")
    if own_process:
        for number in (signal.SIGINT, signal.SIGTERM):  # the work is done or undone: what comes now has nothing to stop
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code if isinstance(code, int) else FINE)


def _complain(sentence: str) -> int:
    click.echo(f"hwsim: {sentence}", err=True)
    return BAD_USE


def _os_error(error: OSError) -> int:
    """A full disk, a missing permission, a closed pipe: the system's own words and the file they are about."""
    if error.errno == errno.EPIPE:
        sys.stderr.close()
        return FINE
    where = f"{error.filename}: " if error.filename else ""
    return _complain(f"{where}{error.strerror or error}; nothing was written under a final name.")


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def emit(result: Any, as_json: bool) -> None:
    """Print a result of the API: its JSON object, or the table that it draws of itself."""
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2, sort_keys=True, allow_nan=False))
        return
    if not hasattr(result, "__rich__"):
        click.echo(str(result))
        return
    from rich.console import Console

    Console(highlight=False).print(result)
