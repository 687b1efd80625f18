"""The documentation's site: recorded examples, the reference that is written from them, and the build."""
