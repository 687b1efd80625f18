"""HTTP and the two wire formats; nothing below knows either."""
