"""hwsim overflow: can the accumulators of a network overflow?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hwsim.cli.frame import FINE, MISMATCH, emit, json_option
from hwsim.cli.minimize import minimize_options, run_minimize
from hwsim.cli.options import DATA_HELP, backend_option, names, network_argument, open_network, plot_option, steps

RANGES = ("format", "network")


def out_file_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--out FILE.json and --witnesses DIR: refused before the work. They stand with --force."""

    def refuse_file(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            from hwsim.proofs.stored import refuse

            refuse(value, ctx.params["force"])
        return value

    def refuse_folder(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            from hwsim.network.storage import refuse
            from hwsim.proofs.stored import INDEX

            refuse(value, ctx.params["force"], INDEX)
        return value

    out = click.option("--out", metavar="FILE.json", type=click.Path(), callback=refuse_file, help="Keep the certificates here.")
    text = "Write the inputs that overflow layers here, each as a golden package."
    folder = click.option("--witnesses", metavar="DIR", type=click.Path(), callback=refuse_folder, help=text)
    return out(folder(command))


@click.command(epilog="Example:  hwsim overflow digits.hwnet --data digits --limit 200")
@network_argument
@click.option("--data", metavar="DATA", help=f"Images, to show what accumulators hold on them: {DATA_HELP}.")
@click.option("--limit", type=click.IntRange(min=1), help="Look at the first N images only.  [all]")
@click.option("--layer", metavar="NAMES", help="These layers alone, with commas between.  [all that accumulate]")
@click.option("--ranges", type=click.Choice(RANGES), help="Proven for any code, or those images send.  [format]")
@click.option("--verify", metavar="FILE.json", type=click.Path(), help="Check the certificates of --out again, independently.")
@out_file_option
@minimize_options
@backend_option
@plot_option("Draw each layer's headroom: proven, seen, declared.", "what is written")
@json_option
def overflow(
    network: str,
    data: str | None,
    limit: int | None,
    layer: str | None,
    ranges: str | None,
    verify: str | None,
    out: str | None,
    witnesses: str | None,
    backend: str,
    plot: str | None,
    force: bool,
    as_json: bool,
    minimize: bool,
    **minimizing: Any,
) -> int:
    """Prove, for every layer and output channel, the smallest accumulator that no input overflows.

    From the weights, the bias and the declared order, for inputs free in their range. Where a declared register can
    overflow, the input that does it is shown. Exit codes: 0 every accumulator is proven to hold every sum, 1 one can
    overflow or is not proven, 2 bad use; with --verify 0 every certificate holds, 1 one is refuted
    or cannot be checked again;
    with --minimize 0.
    """
    if limit is not None and data is None:
        raise click.UsageError("--limit counts images; give --data, or leave it away.")
    if minimize:
        _alone("--minimize", {"--verify": verify, "--layer": layer, "--out": out, "--witnesses": witnesses})
        return run_minimize(network, minimizing | {"data": data, "limit": limit}, ranges, backend, plot, force, as_json)
    _alone("a report without --minimize", {f"--{name.replace('_', '-')}": value for name, value in minimizing.items()})
    if verify is not None:
        given = {"--data": data, "--layer": layer, "--ranges": ranges, "--out": out, "--witnesses": witnesses, "--plot": plot}
        _alone("--verify", given)
        return _verify(network, verify, as_json)
    import hwsim
    from hwsim.proofs.overflow import Ranges

    q = open_network(network)
    with steps() as say:
        report = hwsim.overflow(
            q,
            data,
            limit=limit,
            layers=names(layer),
            ranges=Ranges(ranges or "format"),
            backend=backend,
            progress=lambda done, total: say(f"image {done} of {total}"),
            say=say,
        )
    if out is not None:
        report.write(out, force)
    if witnesses is not None:
        report.write_witnesses(witnesses, force)
    emit(report, as_json)
    if plot is not None:
        report.plot(plot, force)
    return FINE if report.safe else MISMATCH


def _alone(mode: str, others: dict[str, Any]) -> None:
    """Refuse options that say nothing in this mode."""
    if beside := [option for option, value in others.items() if value is not None]:
        raise click.UsageError(f"{mode} takes no {beside[0]}; leave it away.")


def _verify(network: str, file: str, as_json: bool) -> int:
    import hwsim

    found = hwsim.verify_certificates(file, open_network(network))
    emit(found, as_json)
    return FINE if found.holds else MISMATCH
