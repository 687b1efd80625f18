"""The settings: what they take, and what they refuse before anything starts."""

import math
from typing import Any

import msgspec
import pytest

from mavera.errors import ConfigurationError
from mavera.settings import PREFIX, Settings, load_settings, takes_file

FIELDS = msgspec.structs.fields(Settings)
NUMBERS = [
    f
    for f in FIELDS
    if isinstance(msgspec.inspect.type_info(f.type), msgspec.inspect.IntType | msgspec.inspect.FloatType)
]

each_number = pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)


def numbers_in(kind: Any) -> list[Any]:
    """Return every number in a type, however deep it stands."""
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        return [kind]
    inside = [getattr(kind, name, None) for name in ("item_type", "key_type", "value_type")]
    inside += [*getattr(kind, "types", ()), *getattr(kind, "item_types", ())]
    return [number for one in inside if one is not None for number in numbers_in(one)]


def test_every_number_has_a_least_and_a_most() -> None:
    for field in FIELDS:
        for number in numbers_in(msgspec.inspect.type_info(field.type)):
            least = number.ge if number.ge is not None else number.gt
            assert least is not None, field.name
            assert number.le is not None, field.name
            assert math.isfinite(number.le), field.name
            assert least <= field.default <= number.le, field.name


@each_number
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-1", "9" * 30, "9" * 5000])
def test_a_number_out_of_bounds_is_refused_by_the_name_of_its_variable(
    field: Any, value: str, tmp_path: Any
) -> None:
    variable = f"{PREFIX}{field.name.upper()}"
    with pytest.raises(ConfigurationError, match=variable):
        load_settings({variable: value, "MAVERA_DATA_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    "value", ["9" * 5000, "[" * 5000, '"\\ud800"'], ids=["digits", "brackets", "surrogate"]
)
def test_a_file_that_cannot_be_read_is_named(value: str, tmp_path: Any) -> None:
    (tmp_path / "mavera.toml").write_text(f"port = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"mavera\.toml cannot be read"):
        load_settings({"MAVERA_DATA_DIR": str(tmp_path)})


@each_number
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_no_number_in_the_file_is_infinite_either(field: Any, value: float, tmp_path: Any) -> None:
    (tmp_path / "mavera.toml").write_text(f"{field.name} = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=field.name):
        load_settings({"MAVERA_DATA_DIR": str(tmp_path)})


SECRET_NAMES = [field.name for field in FIELDS if takes_file(field.name)]


def test_every_secret_may_stand_in_a_file() -> None:
    hidden = {"key_pepper", "metrics_token", "upstream_api_key", "s3_secret_access_key", "database_url"}
    assert hidden < set(SECRET_NAMES)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_is_read_from_its_file_without_the_line_end(name: str, tmp_path: Any) -> None:
    (tmp_path / "secret").write_text("postgresql://db/mavera\n", encoding="utf-8")
    variable = f"{PREFIX}{name.upper()}_FILE"
    settings = load_settings({variable: str(tmp_path / "secret"), "MAVERA_DATA_DIR": str(tmp_path)})
    assert getattr(settings, name) == "postgresql://db/mavera"


@pytest.mark.parametrize(
    ("content", "environ", "fault"),
    [
        (None, {}, "cannot be read"),
        (b" \n", {}, "is empty"),
        (b"\xff\xfe", {}, "not UTF-8"),
        (b"x" * 70_000, {}, "more than 65536 bytes"),
        (b"pepper", {"MAVERA_KEY_PEPPER": "other"}, "are both set"),
    ],
)
def test_a_file_of_a_secret_that_cannot_be_used_is_named(
    content: bytes | None, environ: dict[str, str], fault: str, tmp_path: Any
) -> None:
    if content is not None:
        (tmp_path / "pepper").write_bytes(content)
    environ = {
        **environ,
        "MAVERA_KEY_PEPPER_FILE": str(tmp_path / "pepper"),
        "MAVERA_DATA_DIR": str(tmp_path),
    }
    with pytest.raises(ConfigurationError, match=rf"MAVERA_KEY_PEPPER.*{fault}"):
        load_settings(environ)


def test_a_setting_that_is_no_secret_has_no_file(tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError, match="MAVERA_PORT_FILE is not a setting"):
        load_settings({"MAVERA_PORT_FILE": "/etc/port", "MAVERA_DATA_DIR": str(tmp_path)})
