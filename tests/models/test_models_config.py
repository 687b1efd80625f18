"""`models.toml` makes any number of models, and says what is wrong with it."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from mavera.core.items import make_message
from mavera.core.prompt import Sampling
from mavera.core.turn import Turn
from mavera.core.usage import Usage
from mavera.errors import ConfigurationError, ValidationFailed
from mavera.models.choice import choose_model
from mavera.models.config import MOST_NANOS, load_models_config
from mavera.models.named import (
    check_model_name,
    choose_named_model,
    choose_named_models,
    find_model_secrets,
)
from mavera.models.upstream import UpstreamModel
from mavera.settings import Settings

LARGE = """
[models.large]
base_url = "https://api.example.com/v1/"
key_variable = "LARGE_KEY"
model = "vendor/large-7"
dialect = "openai"
context_tokens = 128000
sampling = { temperature = 0.7, top_p = 0.9 }
price_in = 0.25
price_out = 2.0
currency = "USD"

[models."small:1b"]
base_url = "http://127.0.0.1:8001/v1"

[models.mavera-1]
sampling = { temperature = 0.5 }
price_in = 1.0
price_out = 1.0
currency = "EUR"
"""


def settings_with(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "models.toml").write_text(text, encoding="utf-8")
    return Settings(data_dir=tmp_path, model_backend="scripted")


def test_models_have_the_names_of_the_file_after_the_one_in_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LARGE_KEY", "sk-large")
    settings = settings_with(tmp_path, LARGE)

    named = choose_named_models(settings, choose_model(settings))

    assert list(named) == ["mavera-1", "large", "small:1b"]
    assert named["large"].config.model == "vendor/large-7"
    assert named["small:1b"].config.model == "small:1b"


def test_reasoning_is_kept_or_dropped_for_each_model(tmp_path: Path) -> None:
    text = "".join(
        f'[models.{name}]\nbase_url = "http://127.0.0.1:1/v1"\n{line}\n'
        for name, line in (("kept", 'thinking = "keep"'), ("dropped", ""))
    )
    settings = replace(settings_with(tmp_path, text), upstream_thinking="drop")

    named = choose_named_models(settings, choose_model(settings))

    upstreams = {name: one.model for name, one in named.items() if isinstance(one.model, UpstreamModel)}
    told = {name: one.options.thinking for name, one in upstreams.items()}
    assert told == {"kept": "keep", "dropped": "drop"}


def test_keys_and_passwords_of_the_file_are_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGE_KEY", " vendor-key-1 ")
    guarded = LARGE.replace("http://127.0.0.1", "http://me:pass-word@127.0.0.1")

    assert find_model_secrets(settings_with(tmp_path, guarded)) == {"vendor-key-1", "pass-word"}


def test_without_a_file_there_is_the_one_model_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model_backend="scripted")

    assert list(choose_named_models(settings, choose_model(settings))) == ["mavera-1"]


def test_a_cost_is_tokens_at_their_prices(tmp_path: Path) -> None:
    large = load_models_config(settings_with(tmp_path, LARGE))["large"]

    assert large.cost_nanos(Usage(1_000_000, 500_000)) == 1_250_000_000
    assert large.cost_nanos(Usage(1, 0)) == 250
    assert large.cost_nanos(Usage(0, 0)) == 0


def test_a_cost_is_unknown_without_a_price_and_never_too_large_to_add_up(tmp_path: Path) -> None:
    free = load_models_config(settings_with(tmp_path, LARGE))["small:1b"]
    dear = LARGE.replace("price_out = 2.0", "price_out = 100000")

    assert free.cost_nanos(Usage(10, 10)) is None
    assert (
        load_models_config(settings_with(tmp_path, dear))["large"].cost_nanos(Usage(0, 10**12)) == MOST_NANOS
    )


def test_recommended_sampling_is_used_where_a_caller_says_nothing(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, LARGE)
    default = choose_named_model(settings, "mavera-1")
    turn = Turn("mavera-1", (make_message("user", "Hm?"),))

    prepared = default.prepare(turn)

    assert prepared.sampling.temperature == 0.5
    assert prepared.preferences == {"temperature"}, "a model that refuses it is asked without it"
    chosen = default.prepare(Turn("mavera-1", turn.items, sampling=Sampling(temperature=0.0)))
    assert (chosen.sampling.temperature, chosen.preferences) == (0.0, frozenset())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = 1", "models"),
        ("[models.a", "cannot be read"),
        ("[models.a]", "needs a base_url"),
        ('[models.a]\nbase_url = ["http://h/v1", "http://h:80/v1/"]', "the same server twice"),
        ('[models.a]\nbase_url = ["http://h/v1", 7]', "Expected `str`"),
        ('[models.a]\nbase_url = "https://api.openai.com"', "https://api.openai.com/v1"),
        ('[models.a]\nbase_url = "http://h/v1"\nkey = "sk-1"', "key"),
        (
            '[models.a]\nbase_url = "http://h/v1"\nkey_variable = "sk-proj-1"',
            "name of an environment variable",
        ),
        ('[models.a]\nbase_url = "http://h/v1"\nkey_variable = "MAVERA_A_KEY"', "something else"),
        ('[models.a]\nbase_url = "http://h/v1"\ndialect = "klingon"', "dialect"),
        ('[models.a]\nbase_url = "http://h/v1"\nprice_in = 1', "together"),
        ('[models.a]\nbase_url = "http://h/v1"\nprice_in = -1\nprice_out = 1\ncurrency = "USD"', "price_in"),
        ('[models.a]\nbase_url = "http://h/v1"\nprice_in = 1\nprice_out = 1\ncurrency = "$"', "currency"),
        ('[models.a]\nbase_url = "http://h/v1"\nsampling = { temperature = 3 }', "temperature"),
        ('[models."a/b"]\nbase_url = "http://h/v1"', "no usable name"),
        ('[models.""]\nbase_url = "http://h/v1"', "no usable name"),
        ('[models.mavera-1]\nbase_url = "http://h/v1"', "MAVERA_UPSTREAM_BASE_URL"),
    ],
)
def test_a_fault_of_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_models_config(settings_with(tmp_path, text))

    assert words in str(refused.value)
    assert "models.toml" in str(refused.value)
    assert "sk-1" not in str(refused.value)


def test_a_key_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LARGE_KEY", raising=False)
    settings = settings_with(tmp_path, LARGE)

    with pytest.raises(ConfigurationError, match=r"'large'.*LARGE_KEY"):
        choose_named_models(settings, choose_model(settings))


def test_a_file_that_a_setting_names_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MAVERA_MODELS_CONFIG"):
        load_models_config(Settings(data_dir=tmp_path, models_config=tmp_path / "none.toml"))


@pytest.mark.parametrize(("name", "shown"), [("gpt-5", "'gpt-5'"), ("mavera-1\u202e", "of that name")])
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path, name: str, shown: str) -> None:
    settings = Settings(data_dir=tmp_path, model_backend="scripted")

    with pytest.raises(ValidationFailed) as refused:
        check_model_name(name, choose_named_models(settings, choose_model(settings)))

    assert refused.value.param == "model"
    assert shown in refused.value.message
    assert "Known models: mavera-1." in refused.value.message
