"""Iluvatar CoreX accelerators."""
