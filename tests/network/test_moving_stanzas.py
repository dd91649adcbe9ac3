"""Layers that move, look up, have slopes or scatter, as text and back: every field returns, none is invented."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hwsim import load
from hwsim.contract import Output
from hwsim.errors import HwsimError, InputError
from hwsim.formats import FixedPoint
from hwsim.golden import describe
from hwsim.layers import ImageEncoding, LookupTable, Shape
from hwsim.network import layer_stanzas
from hwsim.network.preprocessing import ChannelOrder, Preprocessing
from hwsim.network.quantized import QuantizedNetwork, QuantizedNode
from hwsim.network.strict import Fields
from support.moving_layers import LAYERS


def same(a, b) -> bool:
    """Field by field; arrays by their codes."""
    fields = [f.name for f in dataclasses.fields(a)]
    return type(a) is type(b) and all(np.array_equal(x, y) for x, y in ((getattr(a, n), getattr(b, n)) for n in fields))


def arrays(layer) -> dict:
    return {name: getattr(layer, name) for name in layer_stanzas.array_fields(type(layer))}


@pytest.mark.parametrize("name", LAYERS)
def test_a_manifest_keeps_every_field(name):
    layer = LAYERS[name]
    text = json.dumps(describe.plain(layer))
    again = describe.build(layer.kind, json.loads(text), arrays(layer), "here")
    assert same(layer, again) and json.dumps(describe.plain(again)) == text


@pytest.mark.parametrize("name", LAYERS)
def test_a_stanza_keeps_every_field(name):
    layer = LAYERS[name]
    text = json.dumps(layer_stanzas.attributes(layer))
    fields = Fields(json.loads(text), "here")
    again = layer_stanzas.build(layer.kind, fields, layer.input_formats, arrays(layer), None)
    fields.done()
    assert same(layer, again)


def test_what_a_file_says_wrongly_is_one_sentence():
    plain = describe.plain(LAYERS["resize"])
    plain["vertical"]["unit"] = 0
    with pytest.raises(HwsimError, match="Sampling.unit: found 0") as caught:
        describe.build("resize_nearest", plain, {}, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [{"codes": True, "table": None}, {"codes": True}])
def test_a_layer_kept_in_codes_names_the_file_of_each_array_it_needs(given, tmp_path):
    u8 = FixedPoint(8, 0, signed=False)
    encoding = ImageEncoding(np.zeros((1, 1, 1), np.int64), 1, 0, Output(u8))
    nodes = (
        QuantizedNode("data", (), encoding),
        QuantizedNode("look", ("data",), LookupTable(u8, u8, np.arange(256)[::-1])),
    )
    preprocessing = Preprocessing(ChannelOrder.RGB, (2, 3), (0.0,), 1.0, False)
    QuantizedNetwork("net", nodes, Shape(1, 2, 3), preprocessing, "exact32").save(tmp_path / "net.hwnet")
    path = tmp_path / "net.hwnet" / "network.json"
    document = json.loads(path.read_text())
    document["nodes"][1]["files"] = given
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="layer 'look', files, table: found null, allowed the name of a file"):
        load(tmp_path / "net.hwnet")
