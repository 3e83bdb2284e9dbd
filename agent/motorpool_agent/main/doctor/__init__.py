"""``motorpool-agent doctor``: what would trip an operator up on this machine, and what to do about it."""

from motorpool_agent.main.doctor.examination import examine
from motorpool_agent.main.doctor.findings import Finding, Verdict, as_data, as_text

__all__ = ["Finding", "Verdict", "as_data", "as_text", "examine"]
