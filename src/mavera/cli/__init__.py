"""Thin commands over the same rooms as the server's."""
