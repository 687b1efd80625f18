"""The recommended sampling of a model fills in what a caller leaves out, and nothing else."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from mavera.core.items import make_message
from mavera.core.prompt import OutputFormat, Prompt, Sampling
from mavera.core.turn import Turn
from mavera.models.chat_wire import build_request_body
from mavera.models.choice import choose_model
from mavera.models.embedded.catalogue import CATALOGUE
from mavera.models.named import NamedModel, choose_named_models
from mavera.models.sampling import CALM, GENERAL
from mavera.settings import Settings

TURN = Turn("mavera-1", (make_message("user", "Would you lease a car?"),))


def named_by(tmp_path: Path, toml: str = "", **settings: object) -> NamedModel:
    (tmp_path / "models.toml").write_text(toml, encoding="utf-8")
    chosen = replace(Settings(data_dir=tmp_path), **settings)
    return choose_named_models(chosen, choose_model(replace(chosen, model_backend="scripted")))["mavera-1"]


def test_every_model_of_the_catalogue_recommends_a_temperature() -> None:
    assert all(model.sampling.temperature is not None for model in CATALOGUE)


def test_the_embedded_model_answers_calmly_where_the_caller_sets_nothing(tmp_path: Path) -> None:
    prepared = named_by(tmp_path, model_backend="embedded").prepare(TURN)

    assert prepared.sampling == Sampling(
        temperature=0.6, top_p=0.9, top_k=40, min_p=0.1, repetition=CALM.repetition
    )
    sent = build_request_body(Prompt(prepared.items, sampling=prepared.sampling), model="embedded")
    assert (sent["temperature"], sent["min_p"], sent["top_k"]) == (0.6, 0.1, 40)
    assert (sent["dry_multiplier"], sent["dry_allowed_length"], sent["repeat_last_n"]) == (0.8, 3, 2048)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1.7])
def test_a_temperature_of_the_caller_is_taken_as_it_is(tmp_path: Path, temperature: float) -> None:
    turn = replace(TURN, sampling=Sampling(temperature=temperature, top_p=1.0))

    prepared = named_by(tmp_path, model_backend="embedded").prepare(turn)

    assert (prepared.sampling.temperature, prepared.sampling.top_p) == (temperature, 1.0)
    assert prepared.preferences.isdisjoint({"temperature", "top_p"})


@pytest.mark.parametrize(
    "changes", [{"format": OutputFormat("json_object")}, {"canvas_mode": True}], ids=["JSON", "artifacts"]
)
def test_what_has_to_repeat_itself_may(tmp_path: Path, changes: dict[str, object]) -> None:
    prepared = named_by(tmp_path, model_backend="embedded").prepare(replace(TURN, **changes))

    assert prepared.sampling.repetition is None
    assert prepared.sampling.temperature == 0.6


def test_models_toml_goes_before_the_catalogue(tmp_path: Path) -> None:
    toml = "[models.mavera-1]\nsampling = { temperature = 0.3 }"

    prepared = named_by(tmp_path, toml, model_backend="embedded").prepare(TURN)

    assert (prepared.sampling.temperature, prepared.sampling.top_p) == (0.3, 0.9)


def test_a_file_of_ones_own_gets_the_engines_defaults(tmp_path: Path) -> None:
    prepared = named_by(tmp_path, model_backend="embedded", model_path=tmp_path / "own.gguf").prepare(TURN)

    assert prepared.sampling.temperature == GENERAL.temperature
    assert prepared.sampling.repetition is None


def test_an_upstream_is_sent_nothing_that_nobody_named(tmp_path: Path) -> None:
    upstream = {"upstream_base_url": "http://127.0.0.1:9/v1", "upstream_model": "m"}

    assert named_by(tmp_path, **upstream).prepare(TURN) == TURN

    toml = "[models.mavera-1]\nsampling = { min_p = 0.05, top_k = 20 }"
    prepared = named_by(tmp_path, toml, **upstream).prepare(TURN)
    sent = build_request_body(Prompt(prepared.items, sampling=prepared.sampling), model="m")
    assert (sent["min_p"], sent["top_k"]) == (0.05, 20)
    assert "temperature" not in sent


def test_settings_of_repetition_have_bounds() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"repetition": {"penalty": 40}}, type(CALM))
