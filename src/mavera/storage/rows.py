"""What a statement gives and takes: values by name."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
