"""What may run on this machine, whoever asks for it: read from a file that the machine's operator owns."""

from motorpool_agent.policy.denials import DeniedError
from motorpool_agent.policy.reading import DEFAULT_FILE, PolicyError, read
from motorpool_agent.policy.rules import BackendRules, Policy

__all__ = ["DEFAULT_FILE", "BackendRules", "DeniedError", "Policy", "PolicyError", "read"]
