"""How much memory a model needs, from its headers alone."""
