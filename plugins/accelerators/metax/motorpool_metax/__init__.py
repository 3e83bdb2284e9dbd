"""MetaX accelerators."""
