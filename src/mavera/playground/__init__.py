"""The memory of the console's playground: forms behind links, and each person's own runs."""
