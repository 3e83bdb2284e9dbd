"""The conversation with the controller. Losing it at any byte is harmless."""
