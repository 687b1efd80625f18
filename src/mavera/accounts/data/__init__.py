"""What a workspace keeps: for how long, as a file, and how it is erased."""
