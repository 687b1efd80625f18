"""Offer the tools of the operator's MCP servers."""
