import numpy as np
import onnx

SCALE = 2


def write_network(path, kind="plain", bands=1, seed=0):
    """An ONNX network of one convolution of 7 x 7, and what else `kind` says."""
    helper, random = onnx.helper, np.random.default_rng(seed)
    weight = random.normal(0, 0.1, (bands * SCALE**2, bands, 7, 7)).astype("float32")
    last = "conv"
    nodes = [helper.make_node("Conv", ["lr", "weight"], ["conv"], pads=[3] * 4)]
    if kind == "mean":
        nodes += [
            helper.make_node("GlobalAveragePool", ["conv"], ["mean"]),
            helper.make_node("Add", ["conv", "mean"], ["moved"]),
        ]
        last = "moved"
    if kind == "even":
        nodes = [
            helper.make_node("SpaceToDepth", ["lr"], ["deep"], blocksize=2),
            helper.make_node("DepthToSpace", ["deep"], ["low"], blocksize=2),
            helper.make_node("Conv", ["low", "weight"], ["conv"], pads=[3] * 4),
        ]
    if kind == "pooled":
        nodes += [
            helper.make_node("MaxPool", ["conv"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Resize", ["small", "", "twice"], ["moved"], mode="nearest"),
        ]
        last = "moved"
    nodes.append(helper.make_node("DepthToSpace", [last], ["sr"], blocksize=SCALE, mode="CRD"))
    size = ["n", bands, 64, 64] if kind == "of one size" else ["n", bands, "rows", "cols"]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("lr", 1, size)],
        [helper.make_tensor_value_info("sr", 1, None)],
        [
            onnx.numpy_helper.from_array(weight, "weight"),
            onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], "float32"), "twice"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path, weight


def convolve(block, weight):
    """What the plain network makes of a block (bands, rows, cols), by numpy."""
    outputs, bands = weight.shape[:2]
    wide = np.pad(block, ((0, 0), (3, 3), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (7, 7), axis=(1, 2))
    deep = np.einsum("bijkl,obkl->oij", windows, weight).reshape(outputs // SCALE**2, SCALE, SCALE, *block.shape[1:])
    return deep.transpose(0, 3, 1, 4, 2).reshape(bands, SCALE * block.shape[1], SCALE * block.shape[2])
