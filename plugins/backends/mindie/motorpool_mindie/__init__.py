"""The MindIE backend."""
