"""Strategies that find feasible places: one device, several of a node, several nodes, host memory."""
