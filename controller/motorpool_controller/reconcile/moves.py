"""The states of an instance: which may follow which, and what ends those that cannot last.

state        ends by                               at the latest                  then
PENDING      a placement; its rows say why not     never: the wish stands         SCHEDULED
SCHEDULED    the agent's first report              scheduled_deadline             ERROR, and still wanted
DOWNLOADING  the agent's report                    an hour without progress       STARTING or ERROR
STARTING     the agent's report                    the profile's start time       RUNNING or ERROR
RUNNING      a failure, a stop, a lost node        (lasts)
ERROR        the agent's next try                  (lasts, if not restarted)      STARTING
STOPPING     the node's word that nothing is left  the profile's grace, and slack stays; an event says so
  (draining) time: new requests go elsewhere       drain_seconds                  its node is told to stop it
UNREACHABLE  the node's return                     reschedule_after               a replacement; STOPPING on return
QUARANTINED  the agent's report, or an operator    (lasts)

Whatever the agent has in hand it ends itself; if the agent is lost, so is its node's lease, and then the instance is
UNREACHABLE. Nothing is deleted because time passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from motorpool_controller.domain.workload import Instance, InstanceState

_S = InstanceState
_REPORTED = frozenset({_S.DOWNLOADING, _S.STARTING, _S.RUNNING, _S.ERROR, _S.STOPPING, _S.QUARANTINED})
_PLACED = _REPORTED | {_S.UNREACHABLE}

LEGAL: Mapping[InstanceState, frozenset[InstanceState]] = {
    _S.PENDING: frozenset({_S.SCHEDULED}),
    _S.SCHEDULED: _PLACED,
    _S.DOWNLOADING: _PLACED,
    _S.STARTING: _PLACED,
    _S.RUNNING: _PLACED,
    _S.ERROR: _PLACED,
    _S.STOPPING: _PLACED,
    _S.UNREACHABLE: _PLACED,
    _S.QUARANTINED: _PLACED,
}
"""From each state, those that may follow; an instance that was told to stop leaves STOPPING for UNREACHABLE only."""


def may_move(instance: Instance, state: InstanceState) -> bool:
    """Return whether the instance may enter a state, or stay in its own."""
    if instance.leaves and state not in {_S.STOPPING, _S.UNREACHABLE}:
        return False
    return state is instance.state or state in LEGAL[instance.state]


def moved(instance: Instance, state: InstanceState, message: str, now: datetime) -> Instance:
    """Return the instance in a state; the time of entering it is kept while it lasts."""
    if state is instance.state:
        return instance if message == instance.state_message else replace(instance, state_message=message)
    return replace(instance, state=state, state_message=message, state_time=now)
