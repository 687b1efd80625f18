"""The data of a workspace: how long it is kept, how it is exported, and how it is erased."""
