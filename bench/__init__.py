"""Measurements: each one command that prints a table, or one JSON object with `--json`."""
