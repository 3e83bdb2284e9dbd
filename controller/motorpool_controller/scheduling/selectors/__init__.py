"""Strategies that find feasible placements, one for each way in which backends take memory."""
