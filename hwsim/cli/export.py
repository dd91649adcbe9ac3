"""hwsim export: a network in integers as an ONNX file that onnxruntime runs."""

from __future__ import annotations

import click

from hwsim.cli.frame import emit, json_option
from hwsim.cli.options import network_argument, open_network


@click.command(epilog="Example:  hwsim export digits.hwnet --out digits.onnx")
@network_argument
@click.option("--out", metavar="NET.onnx", required=True, type=click.Path(), help="File to write.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@json_option
def export(network: str, out: str, force: bool, as_json: bool) -> None:
    """Write a network in integers as ONNX with QuantizeLinear and DequantizeLinear; tell what may differ there."""
    from hwsim.network.write_onnx import export as write

    emit(write(open_network(network), out, force), as_json)
