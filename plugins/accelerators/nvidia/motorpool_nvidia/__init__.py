"""NVIDIA accelerators."""
