"""Who uses the console: sessions of browsers, one-time links, and invitations."""
