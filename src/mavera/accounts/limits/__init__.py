"""The limits of requests of a key, and of concurrent runs of a workspace."""
