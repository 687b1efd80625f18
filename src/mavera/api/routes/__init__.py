"""The routes beside the two wire formats: personas, usage, keys, workspaces, media, models, health."""
