"""The shim: a process between the agent and one engine that outlives the agent.

It imports as little as it can, and late: every millisecond here is one of the engine's start. So it stands alone,
writes its JSON by hand, and knows neither pathlib, nor json, nor the rest of the agent.
"""
