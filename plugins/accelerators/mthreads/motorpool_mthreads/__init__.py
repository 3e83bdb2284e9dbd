"""Moore Threads accelerators."""
