"""API keys: their text, who they belong to, and what one may do to another."""
