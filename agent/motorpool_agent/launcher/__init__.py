"""The small program that is root's where the agent is not: starts, shows and ends engines' units, by its own policy."""
