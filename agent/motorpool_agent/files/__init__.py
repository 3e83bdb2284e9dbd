"""Model files that this node fetched from hubs."""
