"""Analyse one answer: its emotion, biases, confidence, key insights and news relevance."""
