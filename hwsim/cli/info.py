"""hwsim info: what this installation has."""

from __future__ import annotations

import click

from hwsim.cli.frame import emit, json_option


@click.command(epilog="Example:  hwsim info --json")
@json_option
def info(as_json: bool) -> None:
    """Versions, backends, instruction sets and HWSIM_* variables of this installation."""
    from hwsim.installation import installation

    emit(installation(), as_json)
