"""Tools of MCP servers that the operator set up."""
