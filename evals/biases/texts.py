"""The texts of the eval of biases: those written for it, and plain ones from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def read_tsv(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the bias, or "none", and the text of each line. A column between them is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        name, *_, text = line.split("\t")
        yield name, text


def read_answers() -> Iterator[tuple[str, str]]:
    """Yield the bias, or "none", and the text of the short answers of `answers.txt`."""
    for line in (HERE / "answers.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            _, label, text = (piece.strip() for piece in line.split("|", 2))
            yield "none" if label.startswith("-") else label, text


def list_reviews(folder: Path, name: str, parity: int) -> list[str]:
    """
    Return the texts of `name` in hutto_ICWSM_2014 whose number is even (`parity` 0) or odd.

    Sentences with one number, such as 12_1 and 12_2, are one text.
    """
    texts: dict[int, list[str]] = {}
    for line in (
        (folder / f"{name}{_ENDINGS[name]}").read_text(encoding="utf-8", errors="replace").splitlines()
    ):
        cells = line.split("\t")
        if len(cells) == 3:
            texts.setdefault(int(cells[0].split("_")[0]), []).append(cells[2].strip())
    return [" ".join(sentences) for number, sentences in texts.items() if number % 2 == parity]


_ENDINGS = {
    "amazonReview": "Snippets_GroundTruth.txt",
    "movieReview": "Snippets_GroundTruth.txt",
    "nytEditorial": "Snippets_GroundTruth.txt",
    "tweets": "_GroundTruth.txt",
}
