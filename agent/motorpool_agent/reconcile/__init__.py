"""What the agent is told, what it sees, and the pure decision between them."""
