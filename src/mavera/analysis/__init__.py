"""Emotion, biases, confidence, key insights and news relevance of one answer."""
