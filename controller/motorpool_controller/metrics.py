"""What the controller counts while it works. OBSERVING.md tells of each; `services/gauges` shows them."""

from __future__ import annotations

from motorpool_telemetry.counting import Counter, Histogram

_FAST = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_CALLS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
METHODS = 200
"""The most methods that both listeners could have; one that there is not counts as `unknown`."""
CODES = 17

HEARTBEATS = Counter("motorpool_controller_heartbeats", "Heartbeats of agents.")
SESSIONS_OPENED = Counter("motorpool_controller_sessions_opened", "Sessions of agents that were admitted.")
CALLS = Counter(
    "motorpool_controller_calls", "Calls of both listeners that ended.", "method", "code", most=METHODS * CODES
)
CALL_SECONDS = Histogram(
    "motorpool_controller_call_seconds",
    "How long calls with one answer took.",
    "method",
    buckets=_CALLS,
    most=METHODS,
)
DECISION_SECONDS = Histogram(
    "motorpool_controller_decision_seconds", "How long it took to decide, without what came of it.", buckets=_FAST
)
DECISION_FAILURES = Counter("motorpool_controller_decision_failures", "Decisions that ended in a fault of ours.")
PLACEMENTS = Counter("motorpool_controller_placements", "Instances that were given a place.")
REFUSALS = Counter(
    "motorpool_controller_refusals", "Instances that were found to have no place, by each reason of it.", "reason"
)
EVENTS = Counter("motorpool_controller_events", "Events that were written.", "severity")
COMMITS = Counter("motorpool_controller_store_commits", "Changes that were answered by the store, in batches.")
BATCH_SECONDS = Histogram(
    "motorpool_controller_store_batch_seconds", "How long the database took for a batch of changes.", buckets=_FAST
)
BUSY = Counter("motorpool_controller_store_busy", "Changes and reads sent away because too many waited.", "kind")
LOOP_LAG = Histogram(
    "motorpool_controller_loop_lag_seconds", "How late the event loop was when it was looked at.", buckets=_FAST
)

COUNTERS = (
    HEARTBEATS,
    SESSIONS_OPENED,
    CALLS,
    DECISION_FAILURES,
    PLACEMENTS,
    REFUSALS,
    EVENTS,
    COMMITS,
    BUSY,
)
HISTOGRAMS = (CALL_SECONDS, DECISION_SECONDS, BATCH_SECONDS, LOOP_LAG)
