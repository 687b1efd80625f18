"""mcp.toml: what it takes, and what it refuses before anything starts."""

from pathlib import Path

import pytest

from mavera.errors import ConfigurationError
from mavera.tools.mcp.config import load_mcp_config


def written(folder: Path, timeout: str) -> Path:
    path = folder / "mcp.toml"
    path.write_text(f'[servers.crm]\nurl = "https://crm.test/mcp"\ntimeout_seconds = {timeout}\n')
    return path


@pytest.mark.parametrize(("text", "seconds"), [("10", 10.0), ("0.5", 0.5), ("86400", 86_400.0)])
def test_a_time_limit_may_be_up_to_a_day(tmp_path: Path, text: str, seconds: float) -> None:
    assert load_mcp_config(written(tmp_path, text), required=True)["crm"].timeout_seconds == seconds


@pytest.mark.parametrize(
    "text", ["0", "-1", "86400.1", "1e300", "inf", "-inf", "nan", "true", '"10"', "9" * 400]
)
def test_a_time_limit_out_of_bounds_is_refused_by_server_and_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"mcp\.toml: the server 'crm' is not valid: .*`timeout_seconds`"
    ):
        load_mcp_config(written(tmp_path, text), required=True)


@pytest.mark.parametrize(
    "text", ["9" * 5000, "[" * 5000, "", "10 10"], ids=["digits", "brackets", "none", "two"]
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mcp\.toml cannot be read"):
        load_mcp_config(written(tmp_path, text), required=True)
