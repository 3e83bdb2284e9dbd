"""``python -m motorpool_agent.main``."""

from motorpool_agent.main.commands import main

main()
