"""The guarded fetch of URLs that callers choose, and child processes that read hostile bytes."""
