"""Run a language model on this machine: the catalogue, the download, and the engine's process."""
