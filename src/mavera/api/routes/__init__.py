"""Define all other routes of the API: personas, usage, keys, workspaces, media, models, health."""
