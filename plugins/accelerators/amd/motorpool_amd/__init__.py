"""AMD accelerators."""
