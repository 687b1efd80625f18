"""Keep the bytes and the rows of generated images and videos."""
