"""The server's own secret: made once, the same for every process, readable to its owner only."""

import subprocess
import sys
from pathlib import Path

import pytest

from mavera.errors import ConfigurationError
from mavera.settings import Settings
from mavera.storage.sealing import Secrets, has_shared_secret, open_secrets, secret_path
from mavera.storage.secret_file import read_or_make_secret

READ = "import sys; from pathlib import Path; from mavera.storage.secret_file import read_or_make_secret; \
print(read_or_make_secret(Path(sys.argv[1])).hex())"


def test_processes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    path = tmp_path / "data" / "kept.secret"
    starting = [
        subprocess.Popen([sys.executable, "-c", READ, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    read = {process.communicate()[0].strip() for process in starting}
    assert read == {path.read_bytes().hex()}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [left.name for left in path.parent.iterdir()] == ["kept.secret"]


@pytest.mark.parametrize("content", [b"", b"half of it", b"x" * 33])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept.secret"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="damaged"):
        read_or_make_secret(path)
    assert path.read_bytes() == content


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigurationError, match="cannot be"):
        read_or_make_secret(tmp_path / "data" / "kept.secret")


def test_with_a_pepper_no_file_is_made_but_an_earlier_one_is_still_read(tmp_path: Path) -> None:
    peppered = Settings(data_dir=tmp_path, key_pepper="new", key_pepper_previous="old, older")
    assert open_secrets(peppered) == Secrets(b"new", (b"old", b"older"))
    assert not secret_path(peppered).exists()
    made = open_secrets(Settings(data_dir=tmp_path)).current
    assert made == open_secrets(Settings(data_dir=tmp_path)).current
    assert open_secrets(peppered) == Secrets(b"new", (b"old", b"older", made))


def test_a_pepper_that_was_taken_away_is_still_read_as_a_previous_one(tmp_path: Path) -> None:
    secrets = open_secrets(Settings(data_dir=tmp_path, key_pepper_previous="old"))
    assert secrets.previous == (b"old",)
    assert secrets.current == secret_path(Settings(data_dir=tmp_path)).read_bytes()


@pytest.mark.parametrize(
    ("url", "pepper", "shared"),
    [("", "", True), ("postgresql://db/mavera", "", False), ("postgres://db/mavera", "pepper", True)],
)
def test_servers_share_a_secret_through_the_pepper_or_through_one_folder(
    url: str, pepper: str, shared: bool, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=url, key_pepper=pepper)
    assert has_shared_secret(settings) is shared
    assert open_secrets(settings).is_shared is shared
    assert "pepper" not in repr(open_secrets(settings))
