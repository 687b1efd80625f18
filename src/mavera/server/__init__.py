"""The processes of `mavera serve`: the one that serves, or the parent and its workers, and how they end."""
