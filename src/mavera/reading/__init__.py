"""Read texts: split them into sentences, compute their vectors, and find the verdict of an answer."""
