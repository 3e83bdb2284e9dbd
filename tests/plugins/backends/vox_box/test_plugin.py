"""vox-box's profile and checks; test_launches.py has its launches."""

import platform
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_sdk import Parameter, Severity
from motorpool_vox_box.models import family_of
from motorpool_vox_box.plugin import VoxBox
from tests.plugins.backends.vox_box.requests import CPU, ONE

SEED = {
    **{
        f"Faster-whisper-{size}": "speech_to_text"
        for size in ("large-v3", "large-v2", "large-v1", "medium", "medium.en")
    },
    **{f"Faster-whisper-{size}": "speech_to_text" for size in ("small", "small.en", "tiny", "tiny.en")},
    **{f"Faster-distil-whisper-{size}": "speech_to_text" for size in ("large-v3", "large-v2", "medium.en")},
    **{f"CosyVoice-300M{kind}": "text_to_speech" for kind in ("-Instruct", "-SFT", "", "-25Hz")},
    "CosyVoice2-0.5B": "text_to_speech",
    "Dia-1.6B": "text_to_speech",
}
"""The table of seed 003."""


@pytest.mark.parametrize("name", sorted(SEED))
def test_every_model_of_the_seed_is_known(name: str) -> None:
    """
    Each model is of a family with its category; CosyVoice and Dia are not for ARM.
    """
    family = family_of(name)

    assert family is not None
    assert (SEED[name], not name.startswith(("CosyVoice", "Dia"))) == (family.category, family.arm)


@pytest.mark.parametrize(("machine", "fine"), [("x86_64", True), ("aarch64", False), ("arm64", False)])
def test_a_model_that_does_not_run_here_is_refused(monkeypatch: pytest.MonkeyPatch, machine: str, fine: bool) -> None:
    """
    What speaks with CosyVoice wants amd64; what hears runs anywhere.
    """
    monkeypatch.setattr(platform, "machine", lambda: machine)
    speaking = replace(ONE, model_path=Path("/models/CosyVoice-300M-SFT"))

    assert fine == (not VoxBox().check(speaking))
    assert not VoxBox().check(ONE)


def test_it_uses_one_device_and_falls_back_to_processors() -> None:
    """
    The profile lets nobody place it on more, and a launch of several is refused.
    """
    profile = VoxBox().profile()

    assert (1, True) == (profile.most_devices, profile.cpu)
    (finding,) = VoxBox().check(replace(ONE, device_ids=("GPU-a", "GPU-b")))
    assert (Severity.ERROR, "DEVICES_TOO_MANY") == (finding.severity, finding.reason)
    assert "cpu" == VoxBox().launch(CPU).argv[-1]


def test_the_claimed_device_stays_the_one_that_is_shown() -> None:
    """
    Device 2 of the node is the first that the process sees, and vox-box is kept from showing itself another.
    """
    launch = VoxBox().launch(ONE)

    assert ("--device", "cuda:0", "false") == (*launch.argv[-2:], launch.env["IS_FASTER_WHISPER"])


@pytest.mark.parametrize("option", ["model", "device", "port", "data-dir", "huggingface-repo-id"])
def test_what_the_system_owns_is_refused(option: str) -> None:
    """
    Model, device, port and folder are Motorpool's.
    """
    (finding,) = VoxBox().check(replace(ONE, parameters=(Parameter(option=option, values=("x",)),)))

    assert (Severity.ERROR, "PARAMETER_SYSTEM_OWNED") == (finding.severity, finding.reason)


def test_a_version_that_is_gone_is_named() -> None:
    """
    A version without a program is an error that says what to do.
    """
    with pytest.raises(LookupError, match=r"vox_box 0\.0\.21 is not installed on this node"):
        VoxBox().launch(replace(ONE, executable=""))
