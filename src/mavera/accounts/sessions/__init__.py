"""Sessions of browsers that use the console, one-time links, and invitations."""
