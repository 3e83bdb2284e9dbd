"""What one made-up agent of ``scale`` says: a machine with eight devices, its measurements, and what it runs."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from motorpool import v1
from motorpool_agent.convert.observed import digest_of

DEVICES = 8
GIB = 1 << 30
MIB = 1 << 20
VARIANTS = 3
"""So many measurements of a machine take turns: nothing can take one for the one before."""


class Node:
    """A machine that does not exist. No two have a device's id in common."""

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self._number = number

    def host(self) -> v1.Host:
        """Return the machine's facts."""
        return v1.Host(
            hostname=self._name.removeprefix("nodes/"),
            os="linux",
            architecture="amd64",
            kernel="6.12.0",
            cpu_count=64,
            memory_bytes=512 * GIB,
            boot_id=f"boot-{self._number:08x}",
            machine_id=f"{self._number:032x}",
        )

    def objects(self, profile: v1.BackendProfile) -> dict[str, v1.ObservedObject]:
        """Return all that is observed of the machine before anything runs there, by id."""
        plugin = v1.PluginStatus(
            plugin_id="accelerator-made-up",
            distribution="made-up",
            version="1.0",
            kind="accelerator",
            provides="made-up",
            state=v1.PLUGIN_STATE_READY,
        )
        shown = [observed(f"device/{self._device(index)}", self._card(index)) for index in range(DEVICES)]
        shown.append(observed(f"plugin/{plugin.plugin_id}", plugin))
        shown.append(observed(f"profile/{profile.backend}", profile))
        shown.append(observed("executor/process", v1.ExecutorStatus(executor="process", works=True)))
        return {each.id: each for each in shown}

    def run(self, assignment: v1.Assignment) -> v1.ObservedInstance:
        """Return the report of an instance that runs."""
        return v1.ObservedInstance(
            assignment_id=assignment.assignment_id,
            generation=assignment.generation,
            instance=assignment.instance,
            state=v1.INSTANCE_STATE_RUNNING,
            pid=4711,
            pid_start_ticks=1,
            attempt=1,
            launch=v1.RenderedLaunch(
                executor="process",
                argv=["vllm", "serve", assignment.model.local_path, "--port", "40000"],
                ports=[v1.Port(port_name="http", number=40_000)],
                listen_address="127.0.0.1",
            ),
        )

    def heartbeats(self, epoch: int, digest: str, assignments: Sequence[v1.Assignment]) -> list[bytes]:
        """Return heartbeats ready to be sent, all of one session and of one observed state."""
        return [
            v1.SessionRequest(
                session_epoch=epoch,
                heartbeat=v1.Heartbeat(observed_digest=digest, usage=self._usage(variant, assignments)),
            ).SerializeToString()
            for variant in range(VARIANTS)
        ]

    def _usage(self, variant: int, assignments: Sequence[v1.Assignment]) -> v1.NodeUsage:
        holders = {
            device.device_id: (each.instance, device.memory_bytes)
            for each in assignments
            for device in each.claim.devices
        }
        usage = v1.NodeUsage(
            memory_used_bytes=(40 + 4 * len(assignments)) * GIB + variant * MIB,
            memory_available_bytes=(470 - 4 * len(assignments)) * GIB - variant * MIB,
            memory_instances_bytes=4 * len(assignments) * GIB,
            cpu_ratio=0.25 + variant / 100,
            instances=[v1.InstanceUsage(instance=each.instance, memory_bytes=4 * GIB) for each in assignments],
        )
        for index in range(DEVICES):
            instance, held_bytes = holders.get(self._device(index), ("", 0))
            used_bytes = held_bytes * 19 // 20
            usage.devices.add(
                device_id=self._device(index),
                used_bytes=used_bytes + (16 + variant) * MIB,
                utilization_ratio=0.5 + variant / 10,
                temperature_celsius=61.0 + variant,
                power_watts=300.0 + 7 * variant,
                processes=[v1.DeviceProcess(pid=4711, used_bytes=used_bytes, instance=instance)] if instance else [],
            )
        usage.measure_time.GetCurrentTime()
        return usage

    def _device(self, index: int) -> str:
        return f"GPU-{self._number:08x}-{index:04x}"

    def _card(self, index: int) -> v1.Device:
        return v1.Device(
            device_id=self._device(index),
            vendor="nvidia",
            framework="cuda",
            product="Made-up 80 GiB",
            index=index,
            pci_address=f"0000:{index:02x}:00.0",
            architecture="hopper",
            compute_capability="9.0",
            driver_version="570.00",
            runtime_version="12.8",
            memory=v1.DeviceMemory(kind=v1.MEMORY_KIND_DEDICATED, total_bytes=80 * GIB),
            numa_node=index // 4,
            health=v1.HEALTH_HEALTHY,
        )


def answered(query: v1.Query, facts: v1.ModelFacts) -> v1.QueryAnswer:
    """Return the answer to a question about a model: it is there."""
    return v1.QueryAnswer(query_id=query.query_id, facts=facts)


def observed(name: str, body: Message) -> v1.ObservedObject:
    """Return something as it is shown to the controller."""
    item = v1.ObservedObject(id=name, digest=digest_of(body))
    getattr(item, name.partition("/")[0]).CopyFrom(body)
    return item
