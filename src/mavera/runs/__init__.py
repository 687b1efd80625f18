"""One turn, from start to end."""
