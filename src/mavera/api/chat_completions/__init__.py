"""POST /chat/completions: OpenAI's Chat Completions wire format."""
