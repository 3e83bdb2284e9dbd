"""The contracts pass a good plugin, and each catches the plugin that breaks it."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from motorpool_sdk import SdkError
from motorpool_sdk.testing import AcceleratorContract, BackendContract
from tests.plugins.made_plugins import write_plugin

GOOD = """
from dataclasses import replace
plain = Backend.profile
Backend.profile = lambda self: replace(plain(self), api_key=True)
def launch(self, request):
    return Launch(
        argv=("/bin/engine", str(request.model_path), request.served_model_name,
              request.listen_address, str(request.port)),
        secrets={"VISIBLE": request.api_key},
    )
Backend.launch = launch
"""


def outcomes(contract: type) -> dict[str, str]:
    """Run a contract's tests; return what each said, empty where it passed."""
    said: dict[str, str] = {}
    for name in sorted(vars(contract.__mro__[1])):
        if name.startswith("test_"):
            try:
                getattr(contract(), name)()
                said[name] = ""
            except (AssertionError, SdkError) as error:
                said[name] = f"{type(error).__name__}: {error}"
    return said


def failed(contract: type) -> set[str]:
    return {name for name, said in outcomes(contract).items() if said}


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], type]:
    monkeypatch.syspath_prepend(tmp_path)

    def make(code: str) -> type:
        name = f"contract_{abs(hash(request.node.name))}"
        package = write_plugin(tmp_path, name, code=GOOD + dedent(code))
        return type("Contract", (BackendContract,), {"package": package})

    return make


@pytest.fixture
def accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], type]:
    monkeypatch.syspath_prepend(tmp_path)

    def make(code: str) -> type:
        name = f"contract_{abs(hash(request.node.name))}"
        package = write_plugin(tmp_path, name, kind="accelerator", code=code)
        return type("Contract", (AcceleratorContract,), {"package": package})

    return make


def test_a_good_backend_passes(backend: Callable[[str], type]) -> None:
    """
    A backend that keeps the contract fails nothing.
    """
    assert {} == {name: said for name, said in outcomes(backend("")).items() if said}


RUNNER = """
def profile(self):
    return replace(plain(self), versions=(), formats=(), categories=(), runs_declared=True)
def launch(self, request):
    made = request.definition
    values = {
        "model_path": str(request.model_path), "model_name": request.served_model_name,
        "node_ip": request.listen_address, "port": str(made.container_port or request.port),
        "gpu_count": "0", "gpu_ids": "", **request.env,
    }
    fill = lambda text: re.sub(r"{{ *(\\w+) *}}", lambda found: values[found[1]], text)
    return Launch(
        argv=tuple(map(fill, made.command)), entrypoint=tuple(map(fill, made.entrypoint)), image=request.image,
        env={name: fill(value) for name, value in made.env.items()},
        secrets={made.api_key_env: request.api_key} if made.api_key_env else {}, container_port=made.container_port,
    )
import re
Backend.profile, Backend.launch = profile, launch
"""


def test_a_good_runner_of_declared_backends_passes(backend: Callable[[str], type]) -> None:
    """
    What runs declared backends is asked to launch some that the contract makes up.
    """
    assert {} == {name: said for name, said in outcomes(backend(RUNNER)).items() if said}


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (
            "Backend.profile = lambda self: replace(profile(self), versions=plain(self).versions)",
            "test_profile_is_well_formed",
        ),
        ("Backend.profile = lambda self: replace(profile(self), rules='gguf')", "test_profile_is_well_formed"),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), env={'OTHER': '1'})",
            "test_launch_is_well_formed",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), container_port=70000)",
            "test_launch_is_well_formed",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), secrets={})",
            "test_launch_hands_the_key_over",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), argv=request.definition.command)",
            "test_launch_serves_what_was_asked_where_it_was_asked",
        ),
    ],
)
def test_a_broken_runner_is_caught(backend: Callable[[str], type], code: str, test: str) -> None:
    """
    It may set the variables that a definition names, and no others.
    """
    assert test in failed(backend(f"{RUNNER}\n{code}"))


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (
            "Backend.profile = lambda self: replace(plain(self), most_devices=-1)",
            "test_profile_is_well_formed",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), argv=['/bin/engine'])",
            "test_launch_crosses_the_wire",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), argv=('bash', '-c', 'engine'))",
            "test_launch_uses_no_shell",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), argv=('x', request.api_key))",
            "test_launch_is_well_formed",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), secrets={})",
            "test_launch_hands_the_key_over",
        ),
        (
            """
            import itertools
            count = itertools.count()
            Backend.launch = lambda self, request: replace(launch(self, request), image=str(next(count)))
            """,
            "test_launch_is_pure",
        ),
        (
            "Backend.launch = lambda self, request: replace(launch(self, request), argv=('/bin/engine', '8080'))",
            "test_launch_serves_what_was_asked_where_it_was_asked",
        ),
        ("Backend.check = lambda self, request: ['bad']", "test_check_returns_findings"),
    ],
)
def test_a_broken_backend_is_caught(backend: Callable[[str], type], code: str, test: str) -> None:
    """
    Each part of the contract catches a backend that breaks it.
    """
    assert test in failed(backend(code))


def test_a_good_accelerator_passes(accelerator: Callable[[str], type]) -> None:
    """
    An accelerator that keeps the contract fails nothing.
    """
    assert {} == {name: said for name, said in outcomes(accelerator("")).items() if said}


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (
            """
            import os
            plain = Accelerator.sample
            Accelerator.sample = lambda self, ids: os.open("/dev/null", os.O_RDONLY) and plain(self, ids)
            """,
            "test_a_hundred_looks_leave_nothing_behind",
        ),
        (
            """
            held = []
            plain = Accelerator.health
            Accelerator.health = lambda self, ids: held.append(b"x" * 1_000_000) or plain(self, ids)
            """,
            "test_a_hundred_looks_leave_nothing_behind",
        ),
        (
            "plain = Accelerator.fingerprint\nAccelerator.fingerprint = lambda self: plain(self)[:1] * 2",
            "test_device_ids_differ",
        ),
        (
            """
            from dataclasses import replace
            plain = Accelerator.fingerprint
            Accelerator.fingerprint = lambda self: [replace(each, memory_bytes=0) for each in plain(self)]
            """,
            "test_devices_are_well_formed",
        ),
        (
            "Accelerator.sample = lambda self, ids: [Sample(device_id='GPU-0')]",
            "test_nothing_is_measured_unasked",
        ),
        (
            "Accelerator.sample = lambda self, ids: [Sample(device_id=i, utilization_ratio=87.0) for i in ids]",
            "test_samples_are_well_formed",
        ),
        (
            "Accelerator.health = lambda self, ids: {i: (Health.UNHEALTHY, ()) for i in ids}",
            "test_health_is_tri_state",
        ),
        (
            "Accelerator.expose = lambda self, ids: Exposure(env={'LD_PRELOAD': 'x'})",
            "test_exposure_is_well_formed",
        ),
    ],
)
def test_a_broken_accelerator_is_caught(accelerator: Callable[[str], type], code: str, test: str) -> None:
    """
    Each part of the contract catches an accelerator that breaks it.
    """
    assert test in failed(accelerator(code))
