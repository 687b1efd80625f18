"""A language model on this machine: which there are, how they get here, and the process that runs one."""
