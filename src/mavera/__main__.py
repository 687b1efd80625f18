"""`python -m mavera` is `mavera`."""

from mavera.cli.main import main

main()
