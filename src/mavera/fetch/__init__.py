"""Fetch URLs that callers choose, behind a guard, and read hostile bytes in child processes."""
