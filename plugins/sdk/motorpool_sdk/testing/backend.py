"""What every backend plugin must hold to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import ClassVar

from motorpool_sdk import wire
from motorpool_sdk.backend import BackendPlugin, Finding, Launch, LaunchRequest, Profile, Version
from motorpool_sdk.loading import load_backend
from motorpool_sdk.manifest import Kind, Manifest
from motorpool_sdk.testing.manifest import installed_manifest
from motorpool_sdk.wellformed import launch_faults, profile_faults

API_KEY = "mk-an-api-key-that-nobody-may-see"
_SHELLS = {"sh", "bash", "dash", "zsh", "ash", "ksh", "busybox", "env"}


class BackendContract:
    """Subclass as ``class TestMine(BackendContract)`` and set ``package``.

    Override ``request`` where an engine wants more than the plain request: parameters, devices, an image.
    """

    package: ClassVar[str]

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

    def launches(self) -> Iterator[tuple[LaunchRequest, Launch]]:
        """Yield a request and its launch for every version that is offered here."""
        plugin = self.plugin
        for version in plugin.profile().versions:
            request = self.request(version)
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
            faults = launch_faults(launch, self.manifest, request.api_key)
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
            assert PurePath(launch.argv[0]).name not in _SHELLS, launch.argv

    def test_launch_serves_what_was_asked_where_it_was_asked(self) -> None:
        """Model, name, address and port are in the arguments or the environment."""
        for request, launch in self.launches():
            said = [*launch.argv, *launch.env.values()]
            for wanted in (
                str(request.model_path),
                request.served_model_name,
                request.listen_address,
                str(request.port),
            ):
                assert any(wanted in text for text in said), f"{wanted} is nowhere in {launch.argv}"

    def test_launch_hands_the_key_over(self) -> None:
        """A backend that checks an API key gets it as a secret; one that cannot says so in its profile."""
        checks = self.plugin.profile().api_key
        for request, launch in self.launches():
            assert checks == any(request.api_key in value for value in launch.secrets.values())

    def test_check_returns_findings(self) -> None:
        """A check answers with findings, and has no error against the plain request."""
        plugin = self.plugin
        for version in plugin.profile().versions:
            findings = tuple(plugin.check(self.request(version)))
            assert wire.decode(wire.encode(findings), tuple[Finding, ...]) == findings
            assert not [finding for finding in findings if finding.severity == "error"]
