"""Tools that search the web, or documents of the operator, and read pages."""
