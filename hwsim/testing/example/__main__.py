"""python -m hwsim.testing.example: every planted fault searched for, by hwsim's strategies and by uniform codes."""

from __future__ import annotations

import json

import click

from hwsim.errors import HwsimError
from hwsim.progress import progress
from hwsim.testing.campaign import require_hypothesis
from hwsim.testing.example.device import require_tools
from hwsim.testing.example.faults import FAULTS, fault

BAD_USE = 2


@click.command(epilog="Example:  python -m hwsim.testing.example --fault acc-high-by-one --fault round-ties-away --seeds 1")
@click.option("--examples", type=click.IntRange(min=1), default=2000, show_default=True, help="Budget of one search.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Searches for each fault.")
@click.option("--fault", "names", metavar="NAME", multiple=True, help="Only this one; may be given several times.  [all]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.option("--markdown", is_flag=True, help="Print the table as docs/testing.md has it.")
@click.option("--plot", metavar="PNG", type=click.Path(), help="Draw how many examples each fault took.")
@click.option("--force", is_flag=True, help="Replace the picture if it exists.")
def main(examples: int, seeds: int, names: tuple[str, ...], as_json: bool, markdown: bool, plot: str | None, force: bool) -> None:
    """Search the MAC unit in Verilog for planted faults: the table in docs/testing.md. Needs Icarus Verilog."""
    try:
        chosen = tuple(map(fault, names)) or FAULTS
        if plot is not None:
            from hwsim.picture import refuse

            refuse(plot, force)
        require_tools()
        require_hypothesis()
        from hwsim.testing.example.study import study

        with progress("searching") as bar:
            found = study(chosen, budget=examples, seeds=tuple(range(seeds)), progress=bar)
        if as_json:
            click.echo(json.dumps(found.to_json(), indent=2, sort_keys=True))
        elif markdown:
            click.echo(found.markdown(), nl=False)
        else:
            from rich.console import Console

            Console(highlight=False).print(found)
        if plot is not None:
            found.plot(plot, force)
    except HwsimError as error:
        click.echo(f"hwsim: {error}", err=True)
        raise SystemExit(BAD_USE) from None
    except KeyboardInterrupt:
        click.echo("hwsim: interrupted; nothing half-written stands under a final name.", err=True)
        raise SystemExit(BAD_USE) from None


if __name__ == "__main__":
    main()
