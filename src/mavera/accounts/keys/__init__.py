"""API keys: their text, their storage, and the rights of one key over another."""
