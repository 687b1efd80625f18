"""The emotion of a text: its scales, its name, its emojis, and the figures of evals/README.md."""

import numpy
import pytest
from evals.emotion.population import rate_text
from evals.emotion.texts import read_graded, read_neutral, read_reviews
from hypothesis import given
from hypothesis import strategies as st

from mavera.analysis.emojis import find_emojis, has_unread_emojis, remove_emojis
from mavera.analysis.emotion import EmotionModel, combine_shares, read_emotion, to_emotion
from mavera.analysis.population import Population, find_percentile, load_population
from mavera.analysis.ratings import NAMES, Rating
from mavera.core.analysis import Emotion
from mavera.reading.encoder import SentenceEncoder
from mavera.reading.sentences import split_sentences

SIDE = (0.1, 0.2, 0.4, 0.8)
POPULATION = Population("test", (3.0, 3.0, 3.0), (0.05, 0.05, 0.05), (SIDE,) * 3, ((0.2, 0.4, 0.8, 1.6),) * 3)
SHARES = (0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    return EmotionModel(SentenceEncoder())


def read(model: EmotionModel, text: str) -> Emotion:
    return read_emotion(model, split_sentences(text), find_emojis(text))


def read_valence(model: EmotionModel, text: str) -> float:
    return to_emotion(load_population(), rate_text(model, text)).emotional_valence


@pytest.mark.parametrize(
    ("text", "emotion"),
    [
        ("I absolutely love this! It made my day and I can't stop smiling.", "joy"),
        ("I am furious. This is an outrage and I will not accept it!", "anger"),
        ("I am so sad, I have been crying since he died.", "sadness"),
        ("I am terrified of the dark and I was shaking with fear.", "fear"),
        ("The table is made of wood.", "neutral"),
    ],
)
def test_the_emotion_of_plain_cases(model: EmotionModel, text: str, emotion: str) -> None:
    found = read(model, text)

    assert found.primary_emotion == emotion
    assert found.probabilities[found.primary_emotion] == max(found.probabilities.values())
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=0.01)


def test_a_rating_does_not_depend_on_what_else_is_rated(model: EmotionModel) -> None:
    both = model.rate(["I love it.", "What a long and sad story this is, and how it went on and on."])

    assert both[0] == EmotionModel(SentenceEncoder()).rate(["I love it."])[0]


def test_neutral_is_in_the_middle_whatever_the_mood_of_the_population() -> None:
    """The ordinary rating has no deviation, so the two sides of the population do not move it."""
    for below, above in (((0.1,), (0.9,)), ((0.9,), (0.1,))):
        moody = Population("moody", (3.0,) * 3, (0.1,) * 3, (below,) * 3, (above,) * 3)
        found = to_emotion(moody, [Rating(3.0, 3.0, 3.0, SHARES), Rating(3.08, 2.92, 3.0, SHARES)])

        assert (found.emotional_valence, found.arousal, found.dominance) == (5.5, 5.5, 5.5)
        assert found.raw.emotional_valence == 3.04


def test_each_side_of_neutral_has_its_own_percentiles() -> None:
    def rate(valence: float) -> float:
        return to_emotion(POPULATION, [Rating(valence, 3.0, 3.0, SHARES)]).emotional_valence

    assert rate(3.45) == pytest.approx(5.5 + 4.5 * 0.97 * 2 / 4, abs=0.01)
    assert rate(2.55) == pytest.approx(5.5 - 4.5 * 0.97 * 3 / 4, abs=0.01)
    assert 1 <= rate(1.0) < rate(2.0) < 5.5 < rate(4.0) < rate(5.0) <= 10


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=20), st.floats(0, 9), st.floats(0, 9))
def test_a_further_value_never_has_a_smaller_share(side: list[float], first: float, second: float) -> None:
    low, high = (find_percentile(sorted(side), value) for value in sorted([first, second]))

    assert 0 <= low <= high <= 1


def test_several_sentences_with_a_feeling_add_up() -> None:
    def rate(number: int) -> float:
        return to_emotion(POPULATION, [Rating(3.3, 3.0, 3.0, SHARES)] * number).emotional_valence

    assert rate(1) < rate(3) < rate(6) < rate(12)


def test_one_emotional_sentence_is_not_lost_among_neutral_ones() -> None:
    angry = [float(name == "anger") * 0.9 + float(name == "neutral") * 0.1 for name in NAMES]

    shares = combine_shares([angry, *[SHARES] * 3])

    assert sum(shares) == pytest.approx(1)
    assert shares[NAMES.index("anger")] > 0.3


def test_emojis_count_as_sentences(model: EmotionModel) -> None:
    plain, happy, furious = (read(model, f"The parcel came today{end}") for end in (".", " 😍🎉.", " 😡👎."))

    assert happy.emotional_valence - plain.emotional_valence > 1
    assert plain.emotional_valence - furious.emotional_valence > 1


def test_the_looks_of_an_emoji_make_no_difference() -> None:
    assert find_emojis("👍🏽 ❤️") == find_emojis("👍 ❤") != []
    assert len(find_emojis("😀😀😃😄😁😆🙂😊")) == 5
    assert remove_emojis("I love it 😍❤️!") == "I love it !"
    assert [has_unread_emojis(text) for text in ("😀 👍🏽", "★★★", "🦔", "plain")] == [
        False,
        True,
        True,
        False,
    ]


def test_long_texts_do_not_collapse_to_the_middle(model: EmotionModel) -> None:
    """Every pleasant text is far above every unpleasant one."""
    graded = read_graded()
    for number in {one.sentences for one in graded}:
        found = [(one.sign, read_valence(model, one.text)) for one in graded if one.sentences == number]
        pleasant = [value for sign, value in found if sign > 0]
        unpleasant = [value for sign, value in found if sign < 0]

        assert min(pleasant) - max(unpleasant) > 3.5, (number, found)


def test_long_reviews_are_told_apart_by_their_stars(model: EmotionModel) -> None:
    found = [(one.stars, read_valence(model, one.text)) for one in read_reviews()]
    good = numpy.array([value for stars, value in found if stars >= 4])
    bad = numpy.array([value for stars, value in found if stars <= 2])

    assert good.mean() - bad.mean() > 1.5
    assert (good[:, None] > bad).mean() > 0.8


def test_texts_without_a_feeling_are_in_the_middle(model: EmotionModel) -> None:
    valences = numpy.array([read_valence(model, text) for text in read_neutral()[1]])

    assert ((valences >= 5) & (valences <= 6)).mean() >= 0.8
