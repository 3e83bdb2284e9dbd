"""What there is: nodes, deployments, instances, placements; frozen, and pure."""
