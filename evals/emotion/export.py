"""
Read layers of the sentence encoder, and write the trained layers as ONNX in 8 bits.

    encoder.onnx → read_layers → weights in 32 bits, equal to what the encoder computes with
    weights → graph → int8 for each channel → states of one text → ratings and shares

The graph reads one text without padding. In a batch, the numbers of a text would depend on its neighbours.
The weights have 7 bits, because sums of products of 8 bits overflow on processors with AVX2 and without VNNI.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

WIDTH, HEADS = 384, 12
RATINGS = 3
Weights = Mapping[str, Any]


def read_layers(path: Path, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield the weights of each layer by the names that `evals.emotion.train` gives them."""
    stored = {one.name: one for one in onnx.load(path).graph.initializer}
    for number in numbers:
        found = {}
        for part in ("qkv", "attended", "wide", "narrow"):
            name = f"l{number}.{part}"
            weights = _read(stored[f"{name}.weights"]) * _read(stored[f"{name}.scales"])
            if f"{name}.inverse" in stored:
                weights *= _read(stored[f"{name}.inverse"])[:, None]
            found[f"{part}.weight"] = weights.T
            found[f"{part}.bias"] = _read(stored[f"{name}.bias"])
        for part in ("middle", "end"):
            for kind in ("weight", "bias"):
                found[f"{part}.{kind}"] = _read(stored[f"l{number}.{part}.{kind}"])
        yield found


def _read(stored: Any) -> Any:
    return numpy_helper.to_array(stored).astype(np.float32)


class Graph:
    """An ONNX graph in the making. Each method adds nodes and returns the name of their output."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, domain: str = "", **options: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **options))
        return output

    def multiply(self, name: str, given: str) -> str:
        weight = self.constant(f"{name}.weight", self.weights[f"{name}.weight"].T.astype(np.float32))
        product = self.node("MatMul", [given, weight], f"{name}.product")
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.node("Add", [product, bias], f"{name}.out")

    def normalise(self, name: str, given: str) -> str:
        inputs = [
            given,
            *(self.constant(f"{name}.{kind}", self.weights[f"{name}.{kind}"]) for kind in ("weight", "bias")),
        ]
        return self.node("LayerNormalization", inputs, f"{name}.out", axis=-1, epsilon=1e-12)

    def layer(self, name: str, given: str) -> str:
        mixed = self.multiply(f"{name}.qkv", given)
        split = self.node("Reshape", [mixed, "heads"], f"{name}.split")
        turned = self.node("Transpose", [split], f"{name}.turned", perm=[2, 0, 3, 1, 4])
        q, k, v = (self.node("Gather", [turned, f"at.{n}"], f"{name}.{n}", axis=0) for n in range(3))
        k = self.node("Transpose", [k], f"{name}.kt", perm=[0, 1, 3, 2])
        scores = self.node("Mul", [self.node("MatMul", [q, k], f"{name}.scores"), "scale"], f"{name}.scaled")
        shares = self.node("Softmax", [scores], f"{name}.shares", axis=-1)
        found = self.node(
            "Transpose",
            [self.node("MatMul", [shares, v], f"{name}.mixed")],
            f"{name}.back",
            perm=[0, 2, 1, 3],
        )
        found = self.multiply(f"{name}.attended", self.node("Reshape", [found, "joined"], f"{name}.joined"))
        middle = self.normalise(f"{name}.middle", self.node("Add", [given, found], f"{name}.with_attention"))
        wide = self.node("Gelu", [self.multiply(f"{name}.wide", middle)], f"{name}.gelu")
        narrow = self.node("Add", [middle, self.multiply(f"{name}.narrow", wide)], f"{name}.with_inner")
        return self.normalise(f"{name}.end", narrow)


def export_layers(path: Path, weights: Weights, centre: Any, spread: Any, shift: Any = 0.0) -> None:
    """
    Write the ONNX model. Its ratings are on the scale of `centre` and `spread`.

    `shift` is added to the scores of the emotions before they become shares.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        onnx.save(_build_graph(weights, centre, spread, shift), whole)
        quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


def _build_graph(weights: Weights, centre: Any, spread: Any, shift: Any) -> Any:
    graph = Graph(weights)
    graph.constant("scale", np.array((WIDTH // HEADS) ** -0.5, np.float32))
    graph.constant("heads", np.array([0, 0, 3, HEADS, WIDTH // HEADS], np.int64))
    graph.constant("joined", np.array([0, 0, WIDTH], np.int64))
    graph.constant("tokens", np.array([1], np.int64))
    for number in range(3):
        graph.constant(f"at.{number}", np.array(number, np.int64))
    found, number = "states", 0
    while f"layers.{number}.qkv.weight" in weights:
        found = graph.layer(f"layers.{number}", found)
        number += 1
    mean = graph.node("ReduceMean", [found, "tokens"], "mean", keepdims=0)
    most = graph.node("ReduceMax", [found, "tokens"], "most", keepdims=0)
    pooled = graph.node("Concat", [mean, most], "pooled", axis=1)
    head, bias = weights["head.weight"].astype(np.float32), weights["head.bias"].astype(np.float32)
    for name, rows, spreads, offsets in (
        ("rated", slice(RATINGS), spread, centre),
        ("scored", slice(RATINGS, None), 1.0, shift),
    ):
        weight = graph.constant(f"{name}.weight", (head[rows].T * spreads).astype(np.float32))
        offset = graph.constant(f"{name}.bias", (bias[rows] * spreads + offsets).astype(np.float32))
        graph.node("Gemm", [pooled, weight, offset], name)
    graph.node("Identity", ["rated"], "ratings")
    odds = graph.node("Sigmoid", ["scored"], "odds")
    total = graph.node("ReduceSum", [odds, "tokens"], "total", keepdims=1)
    graph.node("Div", [odds, total], "shares")
    outputs = [
        helper.make_tensor_value_info("ratings", TensorProto.FLOAT, ["texts", RATINGS]),
        helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["texts", len(head) - RATINGS]),
    ]
    given = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["texts", "tokens", WIDTH])
    made = helper.make_graph(graph.nodes, "emotion", [given], outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
