"""
Find the themes of verbatims: cluster sentence vectors, and describe each cluster by its words.

    verbatims + vectors  →  clusters (scikit-learn, k by silhouette)
                         →  words by c-TF-IDF  →  a name by a model

Each distinct verbatim counts once, even if many respondents have it. A theme has no interval. The
clusters depend on the texts alone, so they are the same in every run.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import AgglomerativeClustering
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import silhouette_score

from mavera.focus_groups.mixtures import Floats

FEWEST_TEXTS = 4
MOST_THEMES = 8
WORDS_PER_THEME = 6


@dataclass(frozen=True, slots=True)
class Theme:
    """A group of verbatims about the same subject. `share` is its share of all distinct verbatims."""

    name: str
    words: tuple[str, ...]
    verbatims: tuple[str, ...]
    share: float


def find_themes(texts: Sequence[str], vectors: Floats, stop_words: Sequence[str] = ()) -> tuple[Theme, ...]:
    """
    Return the themes of `texts`, the largest first, named by their words until a model names them.

    `vectors` has a row for each text, of any length. Texts that differ only in case or space count once.
    With fewer than four distinct texts there is one theme.
    """
    distinct: dict[str, int] = {}
    for at, text in enumerate(texts):
        distinct.setdefault(" ".join(text.casefold().split()), at)
    places = list(distinct.values())
    if not places:
        return ()
    kept = [texts[at] for at in places]
    labels = _cluster(np.asarray(vectors)[places])
    words = _find_words(kept, labels, stop_words)
    themes = [
        Theme(
            ", ".join(words[label][:3]) or kept[int(np.argmax(labels == label))][:40],
            words[label],
            tuple(text for text, own in zip(kept, labels, strict=True) if own == label),
            float((labels == label).mean()),
        )
        for label in range(int(labels.max()) + 1)
    ]
    return tuple(sorted(themes, key=lambda theme: (-theme.share, theme.verbatims)))


def build_naming_prompt(theme: Theme, question: str, language: str = "en") -> str:
    """Return a prompt that asks a model to name a theme in two to five words, from up to five verbatims."""
    lines = "\n".join(f"- {text}" for text in theme.verbatims[:5])
    return (
        f"Several people answered the question: {question}\n\n{lines}\n\n"
        f"Name what these answers have in common, in two to five words, in the language '{language}'. "
        "Write only the name."
    )


def _cluster(vectors: Floats) -> Floats:
    """Return the cluster of each row. The number of clusters has the largest silhouette, and is at most 8."""
    count = len(vectors)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = vectors / np.where(norms > 0, norms, 1.0)
    best, best_score = np.zeros(count, dtype=int), 0.0
    if count < FEWEST_TEXTS:
        return best
    for clusters in range(2, min(MOST_THEMES, count // 2) + 1):
        model = AgglomerativeClustering(n_clusters=clusters, metric="cosine", linkage="average")
        labels = model.fit_predict(scaled)
        score = float(silhouette_score(scaled, labels, metric="cosine"))
        if score > best_score + 1e-9:
            best, best_score = labels, score
    return best


def _find_words(texts: Sequence[str], labels: Floats, stop_words: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for each cluster its words with the highest c-TF-IDF: frequent in it, and rare elsewhere."""
    documents = [
        " ".join(text for text, own in zip(texts, labels, strict=True) if own == label)
        for label in range(int(labels.max()) + 1)
    ]
    counter = CountVectorizer(
        stop_words=list(stop_words) or None,
        token_pattern=r"(?u)\b\w\w\w+\b",  # noqa: S106 — a regular expression, no secret
    )
    try:
        counts = counter.fit_transform(documents).toarray().astype(float)
    except ValueError:  # no word is left
        return [()] * len(documents)
    names = counter.get_feature_names_out()
    frequency = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    weights = frequency * np.log(1 + counts.sum() / len(documents) / counts.sum(axis=0))
    found = []
    for row in weights:
        order = sorted(range(len(names)), key=lambda at: (-row[at], names[at]))
        found.append(tuple(str(names[at]) for at in order[:WORDS_PER_THEME] if row[at] > 0))
    return found


def count_repeats(texts: Sequence[str]) -> dict[str, int]:
    """Return how often each distinct verbatim occurs, for marking repeated texts."""
    return dict(Counter(texts))
