"""Themes of verbatims: clusters by meaning, words of each, repeated texts count once."""

import numpy as np
import pytest

from mavera.focus_groups.stop_words import list_stop_words
from mavera.focus_groups.themes import build_naming_prompt, find_themes

TEXTS = (
    "The price is too high for oat milk.",
    "It costs too much, the price scares me.",
    "A lower price would convince me.",
    "I love the creamy taste of it.",
    "The taste is creamy and sweet.",
)
VECTORS = np.array([[1, 0.1, 0], [1, 0, 0.1], [0.9, 0.1, 0.1], [0, 1, 0.1], [0.1, 1, 0]])


def test_verbatims_about_the_same_form_a_theme() -> None:
    first, second = find_themes(TEXTS, VECTORS, ["the", "too", "for", "and"])

    assert first.verbatims == TEXTS[:3]
    assert second.verbatims == TEXTS[3:]
    assert "price" in first.words
    assert set(second.words[:2]) == {"creamy", "taste"}
    assert (first.share, second.share) == pytest.approx((0.6, 0.4))


def test_a_repeated_verbatim_counts_once() -> None:
    texts = (*TEXTS, "THE taste  is creamy and sweet.", TEXTS[4])
    vectors = np.vstack([VECTORS, VECTORS[4], VECTORS[4]])

    assert [theme.share for theme in find_themes(texts, vectors)] == pytest.approx([0.6, 0.4])


def test_few_verbatims_are_one_theme_and_none_is_no_theme() -> None:
    assert len(find_themes(TEXTS[:2], VECTORS[:2])) == 1
    assert find_themes((), np.empty((0, 3))) == ()


def test_texts_without_words_have_a_name() -> None:
    (theme,) = find_themes(["ok"], np.ones((1, 2)))

    assert theme.words == ()
    assert theme.name == "ok"


def test_the_prompt_for_a_name_shows_five_verbatims_at_most() -> None:
    theme = find_themes(TEXTS[:3], VECTORS[:3])[0]

    prompt = build_naming_prompt(theme, "Why?", "de")

    assert "Why?" in prompt
    assert "'de'" in prompt
    assert prompt.count("\n- ") == 3


def test_words_of_grammar_name_no_theme() -> None:
    words = list_stop_words("en-GB")
    assert {"the", "and", "very"} <= set(words)
    assert "price" not in words
    assert list_stop_words("xx") == ()
