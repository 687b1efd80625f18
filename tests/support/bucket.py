"""
A real S3 server, which checks every signature, in the environment of other people's clients.

`make test` makes that; where it is missing the tests that want a bucket are skipped, in CI they fail.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.requirements import skip_or_fail

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/clients/bin/python"
SERVER = ROOT / "tests/clients/python/s3_server.py"
REGION = "eu-north-1"


@dataclass(frozen=True)
class Bucket:
    url: str
    key_id: str
    secret: str
    server: "subprocess.Popen[str]"

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "s3_bucket": "made",
            "s3_endpoint_url": self.url,
            "s3_region": REGION,
            "s3_access_key_id": self.key_id,
            "s3_secret_access_key": self.secret,
        }

    def objects(self) -> dict[str, int]:
        """Return the size of each."""
        return dict(self._told("objects"))

    def unfinished(self) -> int:
        """Return how many uploads in parts were begun and neither ended nor taken back."""
        return int(self._told("unfinished"))

    def remove(self, name: str) -> None:
        self._told(f"remove {name}")

    def _told(self, asked: str) -> Any:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(f"{asked}\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


@contextmanager
def running_bucket() -> Iterator[Bucket]:
    if not PYTHON.exists():
        skip_or_fail("a server that speaks S3 is not installed: make .venv/clients/installed")
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen([PYTHON, SERVER], stdin=pipe, stdout=pipe, stderr=nothing, text=True) as server:
        try:
            assert server.stdout is not None
            yield Bucket(**json.loads(server.stdout.readline()), server=server)
        finally:
            server.kill()
