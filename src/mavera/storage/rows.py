"""The rows that statements take and return: values by name."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
