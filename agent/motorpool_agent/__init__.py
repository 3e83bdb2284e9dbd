"""The Motorpool agent: one on every node."""
