"""Server tools that make images and videos."""
