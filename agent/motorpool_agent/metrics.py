"""What the agent counts while it works. OBSERVING.md tells of each; `observing` shows them."""

from __future__ import annotations

from motorpool_telemetry.counting import Counter, Histogram

_CALLS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0)
_STARTS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0)
_LAGS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
BACKENDS = 50
PLUGINS = 50
REASONS = 50

LAUNCHES = Counter(
    "motorpool_agent_launches",
    "Attempts to run an instance, by what came of them: ready, or failed.",
    "backend",
    "result",
    most=2 * BACKENDS,
)
START_SECONDS = Histogram(
    "motorpool_agent_start_seconds",
    "How long it took from an engine's start until it was ready.",
    "backend",
    buckets=_STARTS,
    most=BACKENDS,
)
FAILURES = Counter("motorpool_agent_failures", "Attempts that failed, by their reason.", "reason", most=REASONS)
RESTARTS = Counter("motorpool_agent_restarts", "Attempts that were made again after a failure.")
PLUGIN_CALLS = Counter(
    "motorpool_agent_plugin_calls",
    "Calls of plugins, by what came of them.",
    "plugin",
    "result",
    most=8 * PLUGINS,
)
PLUGIN_CALL_SECONDS = Histogram(
    "motorpool_agent_plugin_call_seconds",
    "How long plugins took for an answer, or for none.",
    "plugin",
    buckets=_CALLS,
    most=PLUGINS,
)
SESSIONS_OPENED = Counter("motorpool_agent_sessions_opened", "Sessions that the controller admitted.")
SESSIONS_ENDED = Counter(
    "motorpool_agent_sessions_ended", "Sessions, and tries at one, that ended, by reason.", "reason", most=REASONS
)
HEARTBEAT_SECONDS = Histogram(
    "motorpool_agent_heartbeat_seconds", "How long it took to measure what a heartbeat tells.", buckets=_CALLS
)
DOWNLOADED = Counter("motorpool_agent_downloaded_bytes", "Bytes of models that were fetched from hubs.")
LOOP_LAG = Histogram(
    "motorpool_agent_loop_lag_seconds", "How late the event loop was when it was looked at.", buckets=_LAGS
)

COUNTERS = (LAUNCHES, FAILURES, RESTARTS, PLUGIN_CALLS, SESSIONS_OPENED, SESSIONS_ENDED, DOWNLOADED)
HISTOGRAMS = (START_SECONDS, PLUGIN_CALL_SECONDS, HEARTBEAT_SECONDS, LOOP_LAG)
