"""What every backend plugin must hold to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import ClassVar

from motorpool_sdk import wire
from motorpool_sdk.backend import BackendPlugin, Definition, Finding, Launch, LaunchRequest, Profile, Version
from motorpool_sdk.gang import HTTP, DistributedStyle, Gang, GangDevice, GangMember, PortRange
from motorpool_sdk.loading import load_backend
from motorpool_sdk.manifest import Kind, Manifest
from motorpool_sdk.testing.manifest import installed_manifest
from motorpool_sdk.wellformed import launch_faults, profile_faults

API_KEY = "mk-an-api-key-that-nobody-may-see"
_SHELLS = {"sh", "bash", "dash", "zsh", "ash", "ksh", "busybox", "env"}


_DECLARED = ("--model={{model_path}}", "--name={{ model_name }}", "--at={{node_ip}}:{{port}}", "--say={{SOME_SETTING}}")
DEFINITIONS = (
    Definition(
        backend="some-engine",
        version="1.0",
        command=("/opt/some engine/serve", *_DECLARED, "--devices={{gpu_count}}[{{gpu_ids}}]"),
        env={"SOME_HOME": "/srv/{{model_name}}"},
        api_key_env="SOME_API_KEY",
    ),
    Definition(
        backend="some-engine",
        version="1.0-image",
        image="example/some-engine:1.0",
        entrypoint=("/serve", "{{SOME_SETTING}}"),
        command=_DECLARED,
        health_path="/health",
        container_port=8080,
    ),
)
"""What a plugin that runs declared backends must be able to launch."""


class BackendContract:
    """Subclass as ``class TestMine(BackendContract)`` and set ``package``.

    Override ``request`` where an engine wants more than the plain request: parameters, devices, an image.
    """

    package: ClassVar[str]
    names_models: ClassVar[bool] = True
    """False for an engine that serves its one model under any name."""

    def request(self, version: Version) -> LaunchRequest:
        """Return a request that the plugin must be able to launch."""
        return LaunchRequest(
            backend_version=version.version,
            framework=version.frameworks[0],
            model_path=Path("/models/of the fleet/some.model"),
            served_model_name="some-model",
            listen_address="127.0.0.93",
            port=40093,
            engine_dir=Path("/data/engines/some/version") if version.environment else None,
            executable=version.executable,
            api_key=API_KEY,
            memory_bytes=2**30,
            cpu_count=3,
            image=version.image,
        )

    @property
    def manifest(self) -> Manifest:
        """The plugin's manifest."""
        return installed_manifest(self.package)

    @property
    def plugin(self) -> BackendPlugin:
        """The plugin, introduced as in its own process."""
        return load_backend(self.manifest.module)

    def requests(self) -> Iterator[LaunchRequest]:
        """Yield a request for every version that is offered here; of what runs declared ones, for some of those."""
        profile = self.plugin.profile()
        if not profile.runs_declared:
            yield from (self.request(version) for version in profile.versions)
            return
        for definition in DEFINITIONS:
            plain = self.request(Version(version=definition.version, image=definition.image))
            inside = "0.0.0.0" if definition.image else plain.listen_address  # noqa: S104  # in a container
            env = {"SOME_SETTING": "as the deployment says"}
            yield replace(plain, definition=definition, env=env, listen_address=inside)

    def gang_requests(self) -> Iterator[LaunchRequest]:
        """Yield for every distributed style what the leader and the follower of two nodes are asked.

        Override where a member wants more: devices with addresses, a version that can span nodes.
        """
        profile = self.plugin.profile()
        for style in profile.distributed_styles:
            for rank in (0, 1):
                plain = self.request(profile.versions[0])
                gang = Gang(style=style.style, rank=rank, members=tuple(_members(style)), interface="eth7")
                yield replace(plain, listen_address=gang.own.address, port=gang.own.ports[HTTP], gang=gang)

    def launches(self) -> Iterator[tuple[LaunchRequest, Launch]]:
        """Yield each request with its launch."""
        plugin = self.plugin
        for request in self.requests():
            yield request, plugin.launch(request)

    def test_manifest_says_nothing_unknown(self) -> None:
        """The manifest is a backend's, and has no key that nobody reads."""
        assert self.manifest.kind is Kind.BACKEND
        assert not self.manifest.findings, self.manifest.findings

    def test_profile_is_well_formed(self) -> None:
        """The profile is one that a controller can schedule with."""
        faults = profile_faults(self.plugin.profile(), self.manifest)
        assert not faults, faults

    def test_profile_has_an_environment_program_or_image(self) -> None:
        """Each version says what runs it: an environment, a program or an image."""
        for version in self.plugin.profile().versions:
            assert version.environment or version.executable or version.image, version.version

    def test_profile_crosses_the_wire(self) -> None:
        """The agent receives the profile that the plugin gave."""
        profile = self.plugin.profile()
        assert wire.decode(wire.encode(profile), Profile) == profile

    def test_launch_is_well_formed(self) -> None:
        """A launch has arguments, sets declared environment names only, and shows no API key."""
        for request, launch in self.launches():
            faults = launch_faults(launch, self.manifest, request.api_key, request.definition)
            assert not faults, faults

    def test_launch_crosses_the_wire(self) -> None:
        """The agent receives the launch that the plugin gave: arguments are a sequence of texts."""
        for _, launch in self.launches():
            assert wire.decode(wire.encode(launch), Launch) == launch

    def test_launch_is_pure(self) -> None:
        """The same request gives the same launch, also from a plugin that was loaded anew."""
        assert list(self.launches()) == list(self.launches())

    def test_launch_uses_no_shell(self) -> None:
        """The program is the engine, not a shell that would read its arguments once more."""
        for _, launch in self.launches():
            assert launch.image or PurePath(launch.argv[0]).name not in _SHELLS, launch.argv

    def test_launch_serves_what_was_asked_where_it_was_asked(self) -> None:
        """Model, name, address and port are in the arguments or the environment."""
        for request, launch in self.launches():
            said = [*launch.argv, *launch.env.values(), *(file.text for file in launch.files)]
            for wanted in (
                str(request.model_path),
                *((request.served_model_name,) if self.names_models else ()),
                request.listen_address,
                str(launch.container_port or request.port),
            ):
                assert any(wanted in text for text in said), f"{wanted} is nowhere in {launch.argv}"

    def test_launch_hands_the_key_over(self) -> None:
        """A backend that checks an API key gets it as a secret; one that cannot says so in its profile."""
        checks = self.plugin.profile().api_key
        for request, launch in self.launches():
            asked = checks or bool(request.definition and request.definition.api_key_env)
            handed = (*launch.secrets.values(), *(file.text for file in launch.files if file.secret))
            assert asked == any(request.api_key in value for value in handed)

    def test_members_of_a_gang_are_launched(self) -> None:
        """Each member's launch is well-formed, and of all it is the leader that serves."""
        plugin = self.plugin
        for request in self.gang_requests():
            launch = plugin.launch(request)
            faults = launch_faults(launch, self.manifest, request.api_key, request.definition)
            assert not faults, faults
            assert wire.decode(wire.encode(launch), Launch) == launch
            assert request.gang is None or launch.serves or not request.gang.leads, "the leader serves nothing"

    def test_check_returns_findings(self) -> None:
        """A check answers with findings, and has no error against the plain request."""
        plugin = self.plugin
        for request in self.requests():
            findings = tuple(plugin.check(request))
            assert wire.decode(wire.encode(findings), tuple[Finding, ...]) == findings
            assert not [finding for finding in findings if finding.severity == "error"]


def _members(style: DistributedStyle) -> Iterator[GangMember]:
    for rank, node in enumerate(("nodes/a", "nodes/b")):
        wanted = (PortRange(HTTP), *style.ports(rank))
        first = 24000 + 100 * rank
        yield GangMember(
            rank=rank,
            node=node,
            address=f"10.7.0.{rank + 1}",
            devices=(GangDevice(device_id=f"some-device-{rank}", index=0, address=f"10.8.0.{rank + 1}"),),
            ports={ports.name: first + 10 * number for number, ports in enumerate(wanted)},
        )
