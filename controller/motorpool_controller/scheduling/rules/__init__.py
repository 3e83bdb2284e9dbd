"""How backends take devices: one module for each set of rules that a profile can name."""
