"""Protobuf messages to the agent's own types, and back. Messages go no further down than here."""
