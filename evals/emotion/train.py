"""
Train the layers that read emotion from the states of the sentence encoder.

    train.csv (EmoBank)    ─┐
    train.tsv (GoEmotions) ─┴ states after 8 of 12 layers, computed once, never trained
        → copies of the layers 9 to 12: AdamW, layer-wise rates → average of the weights along the way (EMA)
        → heads for valence, arousal, dominance and for seven emotions
        → average of the weights over the seeds → int8 → emotion.onnx

One command, in an environment of its own (torch and onnx are needed here and nowhere else):

    pip install msgspec torch onnx onnxruntime
    python -m evals.emotion.train --emobank train.csv --goemotions train.tsv --out src/mavera/analysis/weights

The rare emotions of GoEmotions are taken whole and the frequent ones in part, so that the model finds anger
and fear too. 6 % of EmoBank's rows are held out to compare settings. All seeds start from the same layers and
the same head, so that their weights can be averaged (Wortsman et al. 2022). The states take 1 GB of memory.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from evals.emotion.export import export_layers, read_layers
from evals.emotion.texts import LABELS, read_emobank, read_goemotions
from mavera.analysis.ratings import NAMES
from mavera.reading import encoder as e5

FIRST, LAST = 8, 12
WIDTH, HEADS, INNER = 384, 12, 1536
# The most rows of GoEmotions whose rarest emotion is this one.
QUOTAS = {
    "anger": 1900,
    "disgust": 800,
    "fear": 750,
    "joy": 1700,
    "neutral": 2200,
    "sadness": 1700,
    "surprise": 1700,
}
MAX_PIECES, MAX_CHARACTERS = 96, 600
WEIGHT_OF_NAMES = 2.45


@dataclass(slots=True)
class Rows:
    """Texts as states of their pieces, and what is known about each."""

    states: list[np.ndarray]
    wanted: np.ndarray


class Layer(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.qkv, self.attended = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.middle, self.end = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        texts, tokens, _ = x.shape
        mixed = self.qkv(x).view(texts, tokens, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        # In bfloat16, the attention of short texts takes six times as long as in floats.
        with torch.autocast("cpu", enabled=False):
            found = functional.scaled_dot_product_attention(*mixed.float(), attn_mask=bias.float())
        found = self.attended(found.transpose(1, 2).reshape(texts, tokens, WIDTH))
        x = self.middle(x + self.dropout(found))
        return self.end(x + self.dropout(self.narrow(functional.gelu(self.wide(x)))))  # type: ignore[no-any-return]


class Layers(nn.Module):
    """The trained copies of the last layers, with one head for the three ratings and the seven emotions."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(FIRST, LAST))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * WIDTH, len(LABELS) + len(NAMES))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = ((1 - mask) * -1e9)[:, None, None, :].to(x.dtype)
        for layer in self.layers:
            x = layer(x, bias)
        there = mask[:, :, None]
        mean = (x * there).sum(1) / there.sum(1)
        most = (x * there - (1 - there) * 100).amax(1)
        return self.head(self.dropout(torch.cat([mean, most], 1)))  # type: ignore[no-any-return]

    def load_encoder(self, path: Path) -> None:
        """Start from the encoder's own layers."""
        for number, found in zip(range(FIRST, LAST), read_layers(path, range(FIRST, LAST)), strict=True):
            self.layers[number - FIRST].load_state_dict(
                {key: torch.tensor(value) for key, value in found.items()}
            )


def draw_balanced(labels: Sequence[set[int]], random: np.random.Generator) -> list[int]:
    """Return the numbers of the rows to train on. A row counts towards the rarest of its emotions."""
    taken = dict.fromkeys(range(len(NAMES)), 0)
    chosen = []
    for row in random.permutation(len(labels)):
        rarest = min(labels[row], key=lambda name: QUOTAS[NAMES[name]])
        if taken[rarest] < QUOTAS[NAMES[rarest]]:
            taken[rarest] += 1
            chosen.append(int(row))
    return chosen


def compute_states(texts: Sequence[str]) -> list[np.ndarray]:
    """Return the states of each text, which the encoder that ships computes."""
    encoder = e5.SentenceEncoder()
    return [
        encoder.embed_with_states(text[:MAX_CHARACTERS])[1][:MAX_PIECES].astype(np.float16) for text in texts
    ]


def list_batches(
    states: Sequence[np.ndarray], kept: Any, size: int, random: np.random.Generator
) -> list[Any]:
    """Group texts of about the same length, so that little is computed on padding."""
    order = random.permutation(kept)
    made = []
    for start in range(0, len(order), size * 40):
        pool = sorted(order[start : start + size * 40], key=lambda n: len(states[n]))
        made += [pool[n : n + size] for n in range(0, len(pool), size)]
    random.shuffle(made)
    return made


def pad(states: Sequence[np.ndarray], chosen: Sequence[int]) -> tuple[Tensor, Tensor]:
    longest = max(len(states[n]) for n in chosen)
    made, mask = torch.zeros(len(chosen), longest, WIDTH), torch.zeros(len(chosen), longest)
    for row, n in enumerate(chosen):
        made[row, : len(states[n])] = torch.from_numpy(states[n].astype(np.float32))
        mask[row, : len(states[n])] = 1
    return made, mask


@torch.no_grad()
def predict(model: Layers, states: Sequence[np.ndarray]) -> np.ndarray:
    model.eval()
    found = np.zeros((len(states), len(LABELS) + len(NAMES)), np.float32)
    for start in range(0, len(states), 64):
        chosen = range(start, min(start + 64, len(states)))
        found[chosen] = model(*pad(states, chosen)).numpy()
    model.train()
    return found


def lose_ratings(said: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Squared error, and a share of the correlation inside the batch, which it neglects."""
    a, b = said - said.mean(0), wanted - wanted.mean(0)
    correlation = (a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0) + 1e-6)
    return (weights * ((said - wanted).square().mean(0) + 0.3 * (1 - correlation))).mean()


def list_groups(model: Layers, rate: float, decay: float) -> list[dict[str, Any]]:
    """Lower layers learn more slowly."""
    groups: list[dict[str, Any]] = [{"params": model.head.parameters(), "lr": rate * 8}]
    for number, layer in enumerate(model.layers):
        groups.append({"params": layer.parameters(), "lr": rate * decay ** (LAST - FIRST - 1 - number)})
    return groups


def _list_steps(
    ratings: Rows, names: Rows, kept: Any, size: int, random: np.random.Generator
) -> Iterator[tuple[bool, list[int]]]:
    """Yield the batches of an epoch in random order. The first value says whether a batch has ratings."""
    steps = [(True, batch) for batch in list_batches(ratings.states, kept, size, random)]
    steps += [(False, batch) for batch in list_batches(names.states, len(names.states), size, random)]
    random.shuffle(steps)  # type: ignore[arg-type]
    for is_rated, batch in steps:
        yield is_rated, [int(n) for n in batch]


def split_rows(number: int, percent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows that are held out, and of the rows to train on."""
    order = np.random.default_rng(0).permutation(number)
    limit = number * percent // 100
    return order[:limit], order[limit:]


def build_layers(dropout: float) -> Layers:
    """Return the layers that every seed starts from."""
    torch.manual_seed(0)
    model = Layers(dropout)
    model.load_encoder(e5.WEIGHTS / "encoder.onnx")
    return model


def train(ratings: Rows, names: Rows, options: argparse.Namespace, seed: int) -> Layers:
    held, kept = split_rows(len(ratings.states), options.held)
    centre, spread = ratings.wanted.mean(0), ratings.wanted.std(0)
    wanted, labels = torch.tensor((ratings.wanted - centre) / spread), torch.tensor(names.wanted)
    weights = torch.tensor([1.0, options.arousal, 1.0]) * len(LABELS) / (len(LABELS) - 1 + options.arousal)
    model, average = build_layers(options.dropout), build_layers(options.dropout)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        list_groups(model, options.rate, options.decay), weight_decay=0.01, fused=True
    )
    per_epoch = math.ceil(len(kept) / options.batch) + math.ceil(len(names.states) / options.batch)
    steps = per_epoch * options.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: scale_rate(step, steps))
    step = 0
    for epoch in range(options.epochs):
        began = time.perf_counter()
        for is_rated, batch in _list_steps(ratings, names, kept, options.batch, random):
            x, mask = pad(ratings.states if is_rated else names.states, batch)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.bfloat16):
                said = model(x, mask)
            said = said.float()
            if is_rated:
                loss = lose_ratings(said[:, : len(LABELS)], wanted[batch], weights)
            else:
                loss = WEIGHT_OF_NAMES * functional.binary_cross_entropy_with_logits(
                    said[:, len(LABELS) :], labels[batch]
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            with torch.no_grad():
                keep = min(0.995, (step + 1) / (step + 20))
                for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
                    ours.lerp_(theirs, 1 - keep)
        spent = f"{time.perf_counter() - began:.0f} s"
        print(f"seed {seed}, epoch {epoch + 1}, {spent}:", describe_fit(average, ratings, held), flush=True)
    return average


def scale_rate(step: int, steps: int) -> float:
    """Rise for a sixteenth of the steps, then fall along a cosine."""
    warm = max(1, steps // 16)
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warm) / (steps - warm))))


def describe_fit(model: Layers, ratings: Rows, held: np.ndarray) -> str:
    """Say how well the ratings of the rows that were held out correlate with people's."""
    if not len(held):
        return "nothing is held out"
    found = predict(model, [ratings.states[n] for n in held])
    r = [float(np.corrcoef(found[:, n], ratings.wanted[held][:, n])[0, 1]) for n in range(len(LABELS))]
    return "held out: " + " ".join(f"{x:.3f}" for x in r)


def average_weights(models: Sequence[Layers]) -> Layers:
    """Return layers whose every weight is the mean of theirs."""
    made = models[0]
    stored = [model.state_dict() for model in models]
    made.load_state_dict({name: torch.stack([one[name] for one in stored]).mean(0) for name in stored[0]})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the layers that read emotion.")
    parser.add_argument("--emobank", type=Path, required=True)
    parser.add_argument("--goemotions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="one run each, averaged at the end")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-4)
    parser.add_argument("--decay", type=float, default=0.9)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--arousal", type=float, default=1.0, help="weight of arousal in the loss")
    parser.add_argument("--held", type=int, default=6, help="percent of EmoBank that is held out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="less time on processors that have it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts, wanted = read_emobank(options.emobank)
    ratings = Rows(compute_states(texts), wanted)
    texts, labels = read_goemotions(options.goemotions)
    chosen = draw_balanced(labels, np.random.default_rng(0))
    shown = np.array([[float(name in labels[n]) for name in range(len(NAMES))] for n in chosen], np.float32)
    names = Rows(compute_states([texts[n] for n in chosen]), shown)
    model = average_weights([train(ratings, names, options, seed) for seed in options.seeds])
    print("average of the seeds:", describe_fit(model, ratings, split_rows(len(wanted), options.held)[0]))
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    export_layers(options.out / "emotion.onnx", weights, wanted.mean(0), wanted.std(0))


if __name__ == "__main__":
    main()
