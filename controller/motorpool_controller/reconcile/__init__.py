"""What to change so that the fleet moves toward the wishes. Pure: records, observations and the time come in."""
