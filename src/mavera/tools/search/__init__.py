"""Server tools that search the web or the operator's documents, and read pages."""
