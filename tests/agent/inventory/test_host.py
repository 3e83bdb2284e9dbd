"""The machine's facts and use."""

import os
import platform

import psutil

from motorpool_agent.inventory.host import Meter, facts


def test_facts_are_this_machines() -> None:
    """
    Names, sizes and ids are the kernel's; the architecture has the name that images use.
    """
    host = facts()

    assert (platform.node(), "linux", platform.release()) == (host.hostname, host.os, host.kernel)
    assert {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()) == host.architecture
    assert (os.cpu_count(), psutil.virtual_memory().total) == (host.cpu_count, host.memory_bytes)
    assert 36 == len(host.boot_id)


def test_facts_do_not_change() -> None:
    """
    Asked twice, the machine is the same: nothing measured is among the facts.
    """
    assert facts() == facts()


def test_used_and_available_are_the_whole() -> None:
    """
    What is in use and what a new process could have add up to the machine's memory.
    """
    usage = Meter().measure()

    assert psutil.virtual_memory().total == usage.memory_used_bytes + usage.memory_available_bytes


def test_the_first_measurement_knows_no_cpu_ratio() -> None:
    """
    A share of time needs two readings: the first one is unknown, a later one is between 0 and 1.
    """
    meter = Meter()
    assert meter.measure().cpu_ratio is None

    ratio = None
    while ratio is None:  # The kernel counts in hundredths of a second.
        ratio = meter.measure().cpu_ratio
    assert 0 <= ratio <= 1
