"""Persona-powered language-model answers over OpenAI's wire formats, self-hosted."""

__version__ = "0.2.0"
