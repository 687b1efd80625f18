"""What a log line looks like, whatever it is given."""

import json
import subprocess
import sys
from typing import Any

ODD = r"""
import structlog
from mavera.logs import configure_logs
from mavera.settings import load_settings
configure_logs(load_settings({}, log_format="json", log_level="info"))
log = structlog.get_logger()
log.info("plain", path="/personas/größe", status=200, milliseconds=1.5)
log.info("odd", half="\ud800", anything=object, keyed={(1, 2): "pair"})
log.info("keys", one="mvra_live_abcdef", two="Authorization: Bearer abc.def", three="sk-abc123")
"""


def logged() -> list[dict[str, Any]]:
    said = subprocess.run([sys.executable, "-c", ODD], capture_output=True, text=True, check=True).stderr
    return [json.loads(line) for line in said.splitlines()]


def test_each_event_is_one_line_of_json_and_none_is_lost() -> None:
    plain, odd, _ = logged()

    assert {**plain, "timestamp": ""} == {
        "event": "plain",
        "level": "info",
        "path": "/personas/größe",
        "status": 200,
        "milliseconds": 1.5,
        "timestamp": "",
    }
    assert odd["event"] == "odd"


def test_keys_are_cut_to_what_they_begin_with() -> None:
    *_, keys = logged()

    assert keys["one"] == "mvra_live_…"
    assert keys["two"] == "Authorization: Bearer …"
    assert keys["three"] == "sk-…"
