"""Server tools: their descriptions, their providers, and the toolbox that offers and calls them."""
