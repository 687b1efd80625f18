"""What the playground of the console remembers: forms behind links, and each person's own runs."""
