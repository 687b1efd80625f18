"""Handle HTTP: bodies and headers in, JSON and server-sent events out, errors, keys and pages."""
