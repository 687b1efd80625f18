"""Limits of a key and of a workspace: requests in a window, and runs at once."""
