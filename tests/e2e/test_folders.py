"""Folders on nodes: one of their models is named by a pattern, its projector sees, and what nobody runs is said."""

from __future__ import annotations

import base64
import json
import struct
import urllib.request
import zlib
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet
from tests.hub.contents import safetensors
from tests.models.tiny_gguf import make_tiny_gguf
from tests.models.tiny_projector import make_tiny_projector

pytestmark = pytest.mark.e2e


def picture(side: int = 28) -> str:
    """Return the address of a picture that is all red, as a request carries it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress((b"\0" + b"\xff\0\0" * side) * side))
    png = b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def ask(endpoint: str, api_key: str, content: list[dict[str, object]]) -> str:
    """Return what a model answers to a message of several parts."""
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 4}
    request = urllib.request.Request(
        f"{endpoint}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {api_key}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def test_a_model_of_a_folder_sees(fleet: Fleet, tmp_path: Path) -> None:
    """
    The file that the pattern names is launched with the projector beside it, and answers to a picture.
    """
    folder = tmp_path / "models"
    folder.mkdir()
    make_tiny_gguf(folder / "m-Q4_0.gguf")
    make_tiny_gguf(folder / "m-Q8_0.gguf", layers=3)
    make_tiny_projector(folder / "mmproj-m-F32.gguf")
    fleet.start_agent("a")
    word = f"{folder}:*Q8_0*"

    inspected = fleet.command("motorpool", "model", "inspect", word).stdout
    checked = fleet.command("motorpool", "check", word).stdout
    blind = json.loads(fleet.command("motorpool", "model", "inspect", word, "-o", "json", "--", "--no-mmproj").stdout)
    fleet.command("motorpool", "deploy", "seeing", "--model", word, "--wait", "--", "--ctx-size", "512")
    described = fleet.command("motorpool", "describe", "deployments/seeing").stdout
    (instance,) = fleet.instances("seeing")
    credentials = fleet.credentials("seeing")

    assert "llm (takes pictures)" in inspected
    assert "mmproj-m-F32.gguf" in inspected
    assert "1 of 1 instances has a place." in checked
    assert "vision_heads" not in blind["facts"]
    assert "companions" not in blind["facts"]
    argv = list(instance.launch.argv)
    assert str(folder / "m-Q8_0.gguf") == argv[argv.index("--model") + 1]
    assert str(folder / "mmproj-m-F32.gguf") == argv[argv.index("--mmproj") + 1]
    assert word in described
    parts: list[dict[str, object]] = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": picture()}},
    ]
    assert ask(credentials.endpoints[0], credentials.api_key, parts).strip()


def test_a_folder_that_no_backend_runs(fleet: Fleet, tmp_path: Path) -> None:
    """
    A safetensors model on a fleet with llama.cpp alone waits, and the row says which backend is missing.
    """
    folder = tmp_path / "models"
    folder.mkdir()
    config = b'{"architectures":["LlamaForCausalLM"],"model_type":"llama","num_hidden_layers":1,"hidden_size":64}'
    (folder / "config.json").write_bytes(config)
    weights = safetensors({"model.layers.0.mlp.up_proj.weight": ("F16", (64, 64), 8192)})
    (folder / "model.safetensors").write_bytes(weights.read(0, weights.size))
    fleet.start_agent("a", "--block-plugin", "vllm")

    checked = fleet.command("motorpool", "check", str(folder), check=False)
    dry = fleet.command("motorpool", "deploy", "other", "--model", str(folder), "--dry-run")
    refused = fleet.command("motorpool", "deploy", "other", "--model", str(folder), "--wait", check=False)
    pattern = fleet.command("motorpool", "model", "inspect", f"{folder}:*Q4*", check=False)

    assert (1, 1) == (checked.returncode, refused.returncode)
    assert "does not offer the backend vllm" in checked.stdout
    assert dry.stdout.endswith(checked.stdout)
    assert "vllm" in refused.stderr
    assert 5 == pattern.returncode
    assert "names a GGUF file, and there is none in it" in pattern.stderr
