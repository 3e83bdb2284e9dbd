"""Hygon accelerators."""
