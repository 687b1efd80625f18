"""Generated images and videos: where their bytes and rows are kept."""
