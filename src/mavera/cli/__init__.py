"""The commands, thin layers over the same rooms that the server uses."""
