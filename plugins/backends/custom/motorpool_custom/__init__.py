"""Backends that were declared to the controller."""
