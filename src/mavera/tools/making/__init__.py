"""Tools that make images and videos."""
