"""Everything the agent observed, as messages; each is made again only when what it shows has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from motorpool import v1
from motorpool_agent.convert.inventory import condition_message, device_message, plugin_message, profile_message
from motorpool_agent.convert.observed import (
    answer_message,
    digest_of,
    executor_message,
    files_message,
    instance_message,
)
from motorpool_agent.inventory import PluginStatus, lineage
from motorpool_agent.inventory.pressure import Condition
from motorpool_agent.reconcile.observation import Answer, ExecutorStatus, ModelFiles, ObservedInstance
from motorpool_agent.session.seams import Instances, Models, Plugins
from motorpool_sdk.accelerator import Device
from motorpool_sdk.backend import Profile


class Observer:
    """Gathers devices, plugins, profiles, executors, conditions, instances and answers: one map of objects by id."""

    def __init__(
        self,
        *,
        node: str,
        plugins: Plugins,
        instances: Instances,
        answers: Callable[[], Mapping[str, Answer]],
        conditions: Callable[[], Mapping[str, Condition]] = dict,
        models: Models | None = None,
    ) -> None:
        self._node = node
        self._plugins = plugins
        self._instances = instances
        self._answers = answers
        self._conditions = conditions
        self._models = models
        # By id: what it was made from, and what was made.
        self._made: dict[str, tuple[object, v1.ObservedObject]] = {}

    def objects(self) -> Mapping[str, v1.ObservedObject]:
        """Return all observed objects by id."""
        made: dict[str, tuple[object, v1.ObservedObject]] = {}
        for object_id, source, make in self._sources():
            known = self._made.get(object_id)
            made[object_id] = known if known is not None and known[0] == source else (source, make())
        self._made = made
        return {object_id: each for object_id, (_, each) in made.items()}

    def instance_of(self, pid: int) -> str:
        """Return the name of the instance whose process this is, its engine's or a worker's; "" for a stranger's."""
        engines = {each.pid: each.instance for each in self._instances.observed().values() if each.pid}
        return next((engines[each] for each in lineage(pid) if each in engines), "") if engines else ""

    def _sources(self) -> Iterator[tuple[str, object, Callable[[], v1.ObservedObject]]]:
        for device in self._plugins.devices().values():
            yield f"device/{device.device_id}", device, partial(_device, device, self._node)
        for status in self._plugins.statuses():
            yield f"plugin/{status.plugin_id}", status, partial(_plugin, status)
        for profile in self._plugins.profiles().values():
            installed = tuple(
                each.version
                for each in profile.versions
                if each.environment is not None and self._instances.installed(profile.backend, each.version)
            )
            yield f"profile/{profile.backend}", (profile, installed), partial(_profile, profile, installed)
        for executor in self._instances.executors().values():
            yield f"executor/{executor.executor}", executor, partial(_executor, executor)
        for name, condition in self._conditions().items():
            yield f"condition/{name}", condition, partial(_condition, condition)
        for instance in self._instances.observed().values():
            yield f"instance/{instance.assignment_id}", instance, partial(_instance, instance)
        for files in () if self._models is None else self._models.known.values():
            told = replace(files, instances=tuple(sorted(self._instances.users_of(files.files_id))))
            yield f"files/{files.files_id}", told, partial(_files, told)
        for answer in self._answers().values():
            yield f"answer/{answer.query_id}", answer, partial(_answer, answer)


def _device(device: Device, node: str) -> v1.ObservedObject:
    body = device_message(device, node)
    return v1.ObservedObject(id=f"device/{device.device_id}", digest=digest_of(body), device=body)


def _plugin(status: PluginStatus) -> v1.ObservedObject:
    body = plugin_message(status)
    return v1.ObservedObject(id=f"plugin/{status.plugin_id}", digest=digest_of(body), plugin=body)


def _profile(profile: Profile, installed: tuple[str, ...]) -> v1.ObservedObject:
    body = profile_message(profile, installed)
    return v1.ObservedObject(id=f"profile/{profile.backend}", digest=digest_of(body), profile=body)


def _instance(instance: ObservedInstance) -> v1.ObservedObject:
    body = instance_message(instance)
    return v1.ObservedObject(id=f"instance/{instance.assignment_id}", digest=digest_of(body), instance=body)


def _answer(answer: Answer) -> v1.ObservedObject:
    body = answer_message(answer)
    return v1.ObservedObject(id=f"answer/{answer.query_id}", digest=digest_of(body), answer=body)


def _executor(status: ExecutorStatus) -> v1.ObservedObject:
    body = executor_message(status)
    return v1.ObservedObject(id=f"executor/{status.executor}", digest=digest_of(body), executor=body)


def _condition(condition: Condition) -> v1.ObservedObject:
    body = condition_message(condition)
    return v1.ObservedObject(id=f"condition/{condition.condition}", digest=digest_of(body), condition=body)


def _files(files: ModelFiles) -> v1.ObservedObject:
    body = files_message(files)
    return v1.ObservedObject(id=f"files/{files.files_id}", digest=digest_of(body), files=body)
