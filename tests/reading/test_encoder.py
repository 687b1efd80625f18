"""The sentence encoder: the vectors of the model it was made from, for any text, from any thread."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mavera.reading.encoder import DIMENSIONS, LANGUAGES, WEIGHTS, NoEncoder, SentenceEncoder
from mavera.reading.pieces import UNKNOWN, Pieces

REFERENCE: dict[str, list[float]] = json.loads((Path(__file__).parent / "vectors.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces.load(WEIGHTS / "pieces.txt")


def test_vectors_are_those_of_the_unpruned_model_in_each_language(encoder: SentenceEncoder) -> None:
    found = encoder.embed(list(REFERENCE))

    cosines = (found * numpy.array(list(REFERENCE.values()))).sum(axis=1)
    assert len(REFERENCE) == 2 * len(LANGUAGES)
    assert cosines.min() > 0.97
    assert sorted(cosines)[2] > 0.995


def test_a_sentence_is_nearest_to_its_translation(encoder: SentenceEncoder) -> None:
    english = ["I would never buy that.", "The bus is always late.", "My daughter studies medicine."]
    others = [
        ["Meine Tochter studiert Medizin.", "Das würde ich nie kaufen.", "Der Bus kommt immer zu spät."],
        ["Mi hija estudia medicina.", "Nunca compraría eso.", "El autobús siempre llega tarde."],
        ["Ma fille étudie la médecine.", "Je n'achèterais jamais ça.", "Le bus est toujours en retard."],
        ["Minha filha estuda medicina.", "Eu nunca compraria isso.", "O ônibus sempre se atrasa."],
    ]

    for translated in others:
        nearest = (encoder.embed(english) @ encoder.embed(translated).T).argmax(axis=1)
        assert list(nearest) == [1, 2, 0], translated


def test_a_vector_has_unit_length_and_does_not_depend_on_its_neighbours(encoder: SentenceEncoder) -> None:
    texts = ["Yes.", "", "  ", "🙂" * 40, "\x00\ud7ff", "We paid $9 a month, then stopped. " * 20, "没有"]
    together = encoder.embed(texts)
    alone = [SentenceEncoder.embed(fresh, [text])[0] for fresh, text in _fresh(texts)]

    assert together.shape == (len(texts), DIMENSIONS)
    assert together.dtype == numpy.float32
    assert numpy.allclose((together**2).sum(axis=1), 1, atol=1e-4)
    assert numpy.array_equal(together, alone)


def _fresh(texts: list[str]) -> Any:
    """Yield an encoder that has kept none of the texts with each of them. They share the weights."""
    loaded = SentenceEncoder()
    loaded.find_problem()
    for text in texts:
        fresh = SentenceEncoder()
        fresh._parts = loaded._parts
        yield fresh, text


def test_a_long_text_is_represented_by_its_beginning(encoder: SentenceEncoder) -> None:
    long = "The rent rose again and I moved out. " * 3000

    first, second = encoder.embed([long, long[:2000] + "Something else."])

    assert float(first @ second) == pytest.approx(1, abs=1e-5)


def test_no_text_gives_no_row(encoder: SentenceEncoder) -> None:
    assert encoder.embed([]).shape == (0, DIMENSIONS)


def test_threads_get_the_vectors_of_their_own_texts(encoder: SentenceEncoder) -> None:
    texts = [f"Number {number} of the list" for number in range(24)]
    expected = encoder.embed(texts)
    shared = SentenceEncoder()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: shared.embed([text])[0], texts))

    assert numpy.allclose(found, expected, atol=1e-4)


def test_without_weights_the_encoder_says_why(tmp_path: Path) -> None:
    encoder = SentenceEncoder(tmp_path)

    problem = encoder.find_problem()

    assert problem is not None
    assert "cannot be loaded" in problem
    with pytest.raises(NoEncoder, match=r"encoder\.onnx"):
        encoder.embed(["Yes."])


@given(st.text(max_size=200))
def test_any_text_is_split_into_known_numbers(pieces: Pieces, text: str) -> None:
    numbers = pieces.encode(text)

    assert all(UNKNOWN <= number < 32_000 for number in numbers)
    assert len(numbers) <= len(text) * 18 + 1  # NFKC makes up to 18 characters of one


def test_words_have_pieces_in_each_language(pieces: Pieces) -> None:
    for text in ("I would not", "Ich würde nicht", "no lo haría", "je ne le ferais pas", "eu não faria"):
        assert len(pieces.encode(text)) <= len(text.split()) + 1, text
