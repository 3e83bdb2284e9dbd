"""Cambricon accelerators."""
