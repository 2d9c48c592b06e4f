"""Valid files, and broken or hostile ones: values of other types and sizes, depth, missing pieces, changed bytes."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import rasterio
import rasterio.shutil
from affine import Affine
from onnx import TensorProto, helper
from rasterio.control import GroundControlPoint

from geosr.dataset import records

HUGE = 10**400
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**40, 2**63, -(2**63), 2**64, HUGE, 0.5, -0.0, 1e308, 1e-320,
    float("nan"), float("inf"), -float("inf"), "", "x", "\x1b[31m\x00", "../../etc/passwd", "\u202e" * 9, "A" * 100_000,
    "1e999", "nan", [], [[]], [None], [0] * 10_000, ["x"], {}, {"": {}}, {"x": [1]}, [{}],
)  # fmt: skip
"""Values that a file may hold where others are expected."""
NUMBERS = ("0", "-1", "1", "2", "4", "2147483647", "2147483648", "-2147483648", "1e308", "nan", "inf", "", "x",
           "1e-300", "99999999999999999999", "0.5", "65536", "32769", "3000")  # fmt: skip
"""Texts in the place of a number of a VRT."""


def damage(data: bytes, rng: random.Random) -> bytes:
    """Return a file with a few bytes of its ends changed, a piece missing, or both."""
    bytes_ = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if data else 0):
        end = rng.choice((min(600, len(bytes_)), len(bytes_)))
        place = rng.randrange(end) if rng.random() < 0.7 else max(0, len(bytes_) - 1 - rng.randrange(end))
        bytes_[place] = rng.choice((0, 1, 255, 128, bytes_[place] ^ (1 << rng.randrange(8)), rng.randrange(256)))
    if rng.random() < 0.15:
        bytes_ = bytes_[: rng.randrange(len(bytes_) + 1)]
    return bytes(bytes_)


def damage_json(text: str, rng: random.Random) -> bytes:
    """Return JSON with values of other kinds, entries missing or repeated, endless depth, or bytes changed."""
    kind = rng.random()
    if kind < 0.1:
        return damage(text.encode(), rng)
    value = json.loads(text)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            break
        holder, key = rng.choice(places)
        change = rng.random()
        if change < 0.15 and isinstance(holder, dict):
            del holder[key]
        elif change < 0.25 and isinstance(holder, list):
            holder.extend(holder[:1] * rng.choice((1, 3, 1000)))
        elif change < 0.35:
            holder[key] = copy.deepcopy(rng.choice(places)[0])
        elif change < 0.5 and isinstance(holder[key], int | float):
            holder[key] = rng.choice((-holder[key], holder[key] * 2, holder[key] // 2, str(holder[key])))
        else:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
    text = json.dumps(value, ensure_ascii=rng.random() < 0.7)
    if kind < 0.15:
        depth = rng.choice((500, 2000, 100_000))
        number = rng.choice(list(re.finditer(r"\d+|null|\"\"", text)) or [re.match("", text)])
        nested = rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))
        text = text[: number.start()] + nested + text[number.end() :]
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def damage_xml(text: str, rng: random.Random) -> bytes:
    """Return a VRT with other numbers, elements missing, repeated or nested, or bytes changed."""
    if rng.random() < 0.1:
        return damage(text.encode(), rng)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        kind = rng.random()
        if kind < 0.6:
            numbers = list(re.finditer(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", text))
            text = _replaced(text, numbers, rng, rng.choice(NUMBERS))
        elif kind < 0.75:
            text = _replaced(text, list(re.finditer(r"<(\w+)[^<>]*>[^<>]*</\1>|<\w+[^<>]*/>", text)), rng, "")
        elif kind < 0.85:
            elements = list(re.finditer(r"<(\w+)[^<>]*>.*?</\1>", text, re.DOTALL))
            if elements:
                element = rng.choice(elements)[0]
                text = _replaced(text, elements, rng, element * rng.choice((2, 3, 200)))
        elif kind < 0.95:
            words = list(re.finditer(r"(?<=>)[A-Za-z][\w.]*(?=<)|(?<==\")[^\"<]*(?=\")", text))
            text = _replaced(text, words, rng, rng.choice((*NUMBERS, "Float64", "UInt16", "CInt16", "damaged.vrt")))
        else:
            depth = rng.choice((100, 20_000))
            text = text.replace("<SRS", "<X>" * depth + "</X>" * depth + "<SRS", 1)
    return text.encode()


def _replaced(text: str, matches: list[re.Match[str]], rng: random.Random, other: str) -> str:
    if not matches:
        return text
    match = rng.choice(matches)
    return text[: match.start()] + other + text[match.end() :]


def damage_record(shard: bytes, rng: random.Random) -> bytes:
    """Return a TFRecord file of which an example holds other values, or whose bytes are changed."""
    if rng.random() < 0.2:
        return damage(shard, rng)
    size = int.from_bytes(shard[:8], "little")
    features = dict(records.features(shard[12 : 12 + size]))
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice([*features, *sorted({"dtype", "shape", "scale"} & features.keys())])
        values = features[name]
        change = rng.random()
        if change < 0.15:
            del features[name]
            if not features:
                break
        elif values and isinstance(values[0], bytes):
            texts = (b"", b"object", b"O", b"U8", b"M8[s]", b"float16", b">u2", b"i4,i4", b"S" + b"9" * 30, b"\xff\xfe")
            features[name] = [
                rng.choice((*texts, damage(values[0], rng), values[0] * 2, values[0][: len(values[0]) // 2]))
            ]
        else:
            number = rng.choice((0, -1, 1, 2, 3, 2**31, 2**62, -(2**63), 1000))
            place = rng.randrange(len(values) + 1)
            features[name] = rng.choice(([*values[:place], number, *values[place + 1 :]], [], values * 2, [number] * 3))
    example = records.serialise({key: v[0] if v and isinstance(v[0], bytes) else v for key, v in features.items()})
    return records.framed(example) + (shard[16 + size :] if rng.random() < 0.7 else b"")


def damage_network(content: bytes, rng: random.Random) -> bytes:
    """Return an ONNX file with other shapes, types, names, operators or constants, or whose bytes are changed."""
    if rng.random() < 0.3:
        return damage(content, rng)
    model = onnx.load_from_string(content)
    graph = model.graph
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = rng.choice([*graph.input, *graph.output] or [onnx.ValueInfoProto(name="none")])
        node = rng.choice(list(graph.node) or [onnx.NodeProto()])
        constant = rng.choice(list(graph.initializer) or [onnx.TensorProto()])
        shape = value.type.tensor_type.shape
        change = rng.randrange(13)
        if change == 0 and shape.dim:
            rng.choice(list(shape.dim)).dim_value = rng.choice((0, -1, 1, 2, 3, 2**31, 2**40, 2**62))
        elif change == 1:
            value.type.tensor_type.elem_type = rng.choice((0, 8, 9, 10, 11, 14, 16, 1000))
        elif change == 2:
            value.name = rng.choice(("", "x" * 70_000, "\x1b[2J", "lr", "hr", "a/b"))
        elif change == 3:
            graph.ClearField(rng.choice(("input", "output", "node", "initializer")))
        elif change == 4:
            node.op_type = rng.choice(
                ("", "Nonsense", "Loop", "If", "Relu", "Reshape", "Resize", "Sin", "Cast", "Shape")
            )
        elif change == 5 and node.attribute:
            attribute = rng.choice(list(node.attribute))
            attribute.ints.extend([rng.choice((0, -1, 2**40))])
            attribute.i = rng.choice((0, -1, 2, 3, 2**40))
        elif change == 6 and constant.dims:
            constant.dims[rng.randrange(len(constant.dims))] = rng.choice((0, -1, 1, 2**20, 2**40, 2**62))
        elif change == 7:
            constant.data_type = rng.choice((0, 2, 7, 8, 10, 11, 1000))
        elif change == 8:
            constant.data_location = TensorProto.EXTERNAL
            constant.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../scene.tif", "none.bin")))
        elif change == 9:
            del shape.dim[rng.randrange(len(shape.dim) + 1) :]
        elif change == 10:
            for opset in model.opset_import:
                opset.version = rng.choice((0, -1, 1, 7, 99, 2**40))
        elif change == 11:
            model.ir_version = rng.choice((0, -1, 3, 99, 2**40))
        elif node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(("", "hr", "none", "lr"))
    serialised: bytes = model.SerializeToString()
    return serialised


def network() -> bytes:
    """Return a network in ONNX that enlarges bands, one at a time, by 2: a convolution and a shuffle."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 0.1, (4, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["lr", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["features"], ["hr"], blocksize=2, mode="CRD"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, f"{name}_rows", f"{name}_cols"])
        for name in ("lr", "hr")
    ]
    graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:], [onnx.numpy_helper.from_array(kernel, "kernel")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def rasters(folder: Path) -> list[Path]:
    """Return small rasters of many kinds."""
    rng = np.random.default_rng(0)
    kinds: dict[str, dict[str, object]] = {
        "striped": {},
        "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "nodata": 0},
        "big": {"BIGTIFF": "YES", "compress": "lzw", "predictor": 2},
        "bands": {"interleave": "band", "compress": "zstd"},
        "jpeg": {"compress": "jpeg", "photometric": "ycbcr"},
        "float": {"dtype": "float32", "compress": "lerc", "nodata": np.nan},
    }
    paths = []
    for name, more in kinds.items():
        profile = {"driver": "GTiff", "width": 70, "height": 60, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
        path = folder / f"{name}.tif"
        with rasterio.open(path, "w", **{**profile, **more}, transform=Affine(10, 1, 4e5, 0, -10, 5e6)) as out:
            out.write(rng.integers(1, 255, (3, 60, 70)).astype(out.dtypes[0]))
            out.update_tags(A="b", AREA_OR_POINT="Point")
            out.descriptions = ("one", "two", "three")
            if name == "striped":
                out.write_mask(np.tri(60, 70, dtype=bool))
        paths.append(path)
    with rasterio.open(paths[1], "r+") as out:
        out.build_overviews([2, 4])
    with rasterio.open(folder / "gcps.tif", "w", driver="GTiff", width=20, height=20, count=1, dtype="int16") as out:
        out.write(rng.integers(1, 255, (1, 20, 20)).astype("int16"))
        out.gcps = [GroundControlPoint(r, c, 10 + c, 50 - r) for r in (0, 20) for c in (0, 20)], "EPSG:4326"
    rasterio.shutil.copy(paths[0], folder / "scene.png", driver="PNG")
    rasterio.shutil.copy(paths[0], folder / "scene.jp2", driver="JP2OpenJPEG")
    return [*paths, folder / "gcps.tif", folder / "scene.png", folder / "scene.jp2"]


def vrts(folder: Path) -> list[Path]:
    """Return VRTs of many kinds, of the rasters in the folder."""
    paths = []
    for name in ("striped", "tiled", "float", "gcps"):
        paths.append(folder / f"{name}.vrt")
        rasterio.shutil.copy(folder / f"{name}.tif", paths[-1], driver="VRT")
    source = (
        '<{kind}><SourceFilename relativeToVRT="1">tiled.tif</SourceFilename><SourceBand>1</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="70" ySize="60"/><DstRect xOff="0" yOff="0" xSize="70" ySize="60"/>'
        "{more}</{kind}>"
    )
    complex_ = "<ScaleOffset>1</ScaleOffset><ScaleRatio>2</ScaleRatio><NODATA>3</NODATA><LUT>0:0,255:128</LUT>"
    kernel = '<Kernel normalized="1"><Size>3</Size><Coefs>1 1 1 1 2 1 1 1 1</Coefs></Kernel>'
    bands = {
        "complex": ("", source.format(kind="ComplexSource", more=complex_)),
        "kernel": ("", source.format(kind="KernelFilteredSource", more=kernel)),
        "average": ("", source.format(kind="AveragedSource", more="")),
        "mosaic": ("", source.format(kind="SimpleSource", more="") * 3),
        "derived": (
            ' subClass="VRTDerivedRasterBand"',
            "<PixelFunctionType>sum</PixelFunctionType><SourceTransferType>Float32</SourceTransferType>"
            + source.format(kind="SimpleSource", more="") * 2,
        ),
    }
    for name, (attributes, content) in bands.items():
        paths.append(folder / f"{name}.vrt")
        paths[-1].write_text(
            '<VRTDataset rasterXSize="70" rasterYSize="60"><SRS>EPSG:32633</SRS>'
            '<GeoTransform>400000, 10, 1, 5000000, 0, -10</GeoTransform><Metadata><MDI key="A">b</MDI></Metadata>'
            f'<VRTRasterBand dataType="Byte" band="1"{attributes}><NoDataValue>0</NoDataValue>'
            f"<Description>red</Description><ColorInterp>Red</ColorInterp>{content}</VRTRasterBand></VRTDataset>"
        )
    return paths
