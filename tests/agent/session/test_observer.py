"""Whose processes are on a device."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from motorpool_agent.reconcile.observation import ObservedInstance, State
from motorpool_agent.session.observer import Observer
from tests.agent.session.fakes import FixedPlugins, RecordingInstances

ENGINE = ObservedInstance(assignment_id="a1", instance="instances/a1", generation=1, state=State.RUNNING)


def observer(*observed: ObservedInstance) -> Observer:
    instances = RecordingInstances(running={each.assignment_id: each for each in observed})
    return Observer(node="nodes/a", plugins=FixedPlugins(), instances=instances, answers=dict)


def test_an_engines_process_is_its_instances() -> None:
    """
    The engine itself is its instance's.
    """
    assert "instances/a1" == observer(replace(ENGINE, pid=os.getpid())).instance_of(os.getpid())


def test_a_worker_of_an_engine_is_its_instances() -> None:
    """
    What an engine started is its instance's too: many have a worker for each device.
    """
    command = [sys.executable, "-IS", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
        seen = observer(replace(ENGINE, pid=os.getpid())).instance_of(worker.pid)

        worker.communicate(b"\n")
    assert "instances/a1" == seen


def test_strangers_are_nobodys() -> None:
    """
    A process that is none of ours, or gone, or while an engine is not started yet, has no instance.
    """
    watching = observer(replace(ENGINE, pid=os.getpid()))

    assert ["", ""] == [watching.instance_of(pid) for pid in (1, 2**22 + 1)]
    assert "" == observer(ENGINE).instance_of(os.getpid())
