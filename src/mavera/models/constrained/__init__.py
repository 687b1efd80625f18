"""Function calls for models that have none of their own, by constrained decoding."""
