"""What a text says: its sentences, their vectors, and what an answer says to its question."""
