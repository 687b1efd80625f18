"""POST /responses: OpenAI's Responses wire format."""
