"""What a run can use besides a model: the guarded fetch, and the reading of images."""
