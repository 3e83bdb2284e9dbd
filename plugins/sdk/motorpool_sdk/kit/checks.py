"""The checks of one plugin: ``python -m motorpool_sdk.kit.checks PACKAGE KIND``, a line of JSON for each at ``TELLS``.

Run by ``verification``: a plugin that crashes takes this process along, and nothing else.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import msgspec

from motorpool_sdk.accelerator import AcceleratorPlugin, Device, DeviceError
from motorpool_sdk.backend import BackendPlugin
from motorpool_sdk.kit.verification import TELLS, Outcome
from motorpool_sdk.loading import load_accelerator, load_backend
from motorpool_sdk.manifest import Kind
from motorpool_sdk.testing import AcceleratorContract, BackendContract, installed_manifest

SAMPLE_SECONDS, INVENTORY_SECONDS, PROFILE_SECONDS = 2.0, 15.0, 5.0


def main(package: str, kind: Kind, descriptor: int) -> None:
    """Run every check of ``package``, and say how each ended."""
    faulthandler.enable()
    for check, run in _checks(package, kind):
        _say(descriptor, Outcome(check=check))
        try:
            detail = run()
        except AssertionError as error:
            _say(descriptor, Outcome(check=check, passed=False, detail=_sentence(error)))
        except Exception as error:  # noqa: BLE001  # foreign code: a plugin may raise anything
            traceback.print_exc()
            _say(descriptor, Outcome(check=check, passed=False, detail=f"{type(error).__name__}: {error}"))
            if check == "import":
                break
        else:
            _say(descriptor, Outcome(check=check, passed=True, detail=detail))
    _say(descriptor, Outcome(check="done"))


def _checks(package: str, kind: Kind) -> Iterator[tuple[str, Callable[[], str]]]:
    module = installed_manifest(package).module
    contract: AcceleratorContract | BackendContract
    if kind is Kind.ACCELERATOR:
        yield "import", lambda: _done(load_accelerator(module))
        yield "devices", lambda: _devices(load_accelerator(module))
        yield "samples in time", lambda: _samples(load_accelerator(module))
        contract = AcceleratorContract()
    else:
        yield "import", lambda: _done(load_backend(module))
        yield "versions", lambda: _versions(load_backend(module))
        contract = BackendContract()
    type(contract).package = package
    for name in vars(type(contract)):
        if name.startswith("test_"):
            yield name.removeprefix("test_").replace("_", " "), _asked(getattr(contract, name))


def _asked(test: Callable[[], None]) -> Callable[[], str]:
    def run() -> str:
        try:
            test()
        except AssertionError as error:
            # A bare assert has no words of its own; the contract's sentence says what should be true.
            raise AssertionError(str(error) or f"not so: {test.__doc__}") from error
        return ""

    return run


def _done(_: object) -> str:
    return ""


def _devices(plugin: AcceleratorPlugin) -> str:
    began = time.monotonic()
    found = plugin.fingerprint()
    _in_time(began, INVENTORY_SECONDS)
    words = []
    for each in found:
        if isinstance(each, Device):
            size = "memory unknown" if each.memory_bytes is None else f"{each.memory_bytes / 2**30:.1f} GiB"
            words.append(f"{each.device_id} {each.product} {size}".replace("  ", " "))
    broken = [f"{each.device_id}: {each.message}" for each in found if isinstance(each, DeviceError)]
    _require("; ".join(broken))
    return f"{len(words)}: {', '.join(words)}" if words else "none on this machine; what follows says little"


def _samples(plugin: AcceleratorPlugin) -> str:
    ids = [each.device_id for each in plugin.fingerprint() if isinstance(each, Device)]
    began = time.monotonic()
    samples = plugin.sample(ids)
    _in_time(began, SAMPLE_SECONDS)
    missing = sorted(set(ids) - {sample.device_id for sample in samples})
    _require(f"not measured: {', '.join(missing)}" if missing else "")
    used = ["unknown" if each.used_bytes is None else f"{each.used_bytes / 2**30:.1f} GiB" for each in samples]
    return f"{len(used)} used: {', '.join(used)}" if used else ""


def _versions(plugin: BackendPlugin) -> str:
    began = time.monotonic()
    profile = plugin.profile()
    _in_time(began, PROFILE_SECONDS)
    return ", ".join(version.version for version in profile.versions)


def _in_time(began: float, most_seconds: float) -> None:
    took_seconds = time.monotonic() - began
    late = f"took {took_seconds:.1f} s; an agent waits {most_seconds:g} s and kills it"
    _require(late if took_seconds > most_seconds else "")


def _require(fault: str) -> None:
    if fault:
        raise AssertionError(fault)


def _sentence(error: AssertionError) -> str:
    return " ".join(str(error).split()) or "not so"


def _say(descriptor: int, outcome: Outcome) -> None:
    os.write(descriptor, msgspec.json.encode(outcome) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], Kind(sys.argv[2]), int(os.environ[TELLS]))
