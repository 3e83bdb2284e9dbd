"""Speech for real: a backend declared in YAML serves faster-whisper, and writes down what a synthesiser says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet
from tests.e2e.speech_engine import PYTHON, model

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.needs("espeak-ng")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "backends"
SENTENCE = "The quick brown fox jumps over the lazy dog."
WORDS = {"quick", "brown", "fox", "jumps", "over", "lazy", "dog"}
TYPE = "audio/wav"


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path) -> Iterator[Fleet]:
    """
    A controller and one agent; the example is declared, with this machine's places in it.
    """
    model()
    (tmp_path / "engines").mkdir()
    fleet = Fleet(tmp_path, tmp_path / "engines")
    try:
        fleet.start_controller()
        fleet.start_agent()
        text = (EXAMPLE / "whisper.yaml").read_text(encoding="utf-8")
        declaration = tmp_path / "whisper.yaml"
        text = text.replace("/opt/whisper/bin/python", str(PYTHON)).replace("/opt/whisper/whisper.py", _server())
        declaration.write_text(text)
        fleet.command("motorpool", "backends", "apply", "-f", str(declaration))
        yield fleet
    finally:
        fleet.close()


def _server() -> str:
    return str(EXAMPLE / "whisper.py")


@pytest.fixture(name="spoken")
def make_spoken(tmp_path: Path) -> Path:
    """
    A sentence as sound, by a synthesiser.
    """
    path = tmp_path / "spoken.wav"
    subprocess.run(["espeak-ng", "-s", "130", "-w", str(path), SENTENCE], check=True)
    return path


def test_a_declared_backend_writes_down_what_is_said(fleet: Fleet, spoken: Path) -> None:
    """
    Deployed through controller and agent, it is asked with its key as OpenAI's API is, and hears the sentence; who has
    no key, or sends no sound, is told so.
    """
    deploy = ["deploy", "ears", "--backend", "whisper", "--model", str(model()), "--wait", "--timeout", "100s"]

    fleet.command("motorpool", *deploy, "--", "--threads=2")
    fleet.wait_state("ears", v1.INSTANCE_STATE_RUNNING)

    credentials = fleet.credentials("ears")
    [endpoint] = credentials.endpoints
    url, key = f"{endpoint}/v1/audio/transcriptions", {"authorization": f"Bearer {credentials.api_key}"}
    sound = {"file": (spoken.name, spoken.read_bytes(), TYPE)}
    asked = {"model": credentials.served_model_name}
    heard = httpx.post(url, data=asked, files=sound, headers=key, timeout=60)
    assert 200 == heard.status_code, heard.text
    told = set(re.findall(r"[a-z]+", heard.json()["text"].lower()))
    assert len(WORDS & told) >= 5, heard.text
    assert 401 == httpx.post(url, data=asked, files=sound, timeout=60).status_code
    noise = {"file": ("noise.wav", b"no sound at all", TYPE)}
    assert 400 == httpx.post(url, data=asked, files=noise, headers=key, timeout=60).status_code
