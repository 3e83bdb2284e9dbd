"""Requests whose whole launches stand in ``launches/``: a file a request."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_sdk import LaunchRequest, Parameter

ONE = LaunchRequest(
    backend_version="0.0.21",
    framework="cuda",
    model_path=Path("/models/faster-whisper-small"),
    served_model_name="ears",
    listen_address="127.0.0.93",
    port=40093,
    executable="/opt/vox-box/bin/vox-box",
    device_ids=("GPU-c",),
    device_indexes=(2,),
    device_memory_bytes=(2 * 2**30,),
    memory_bytes=2 * 2**30,
    categories=("speech_to_text",),
)
CPU = replace(ONE, framework="cpu", device_ids=(), device_indexes=(), device_memory_bytes=())
CONTAINER = replace(ONE, executable="", image="gpustack/runner:cuda12.8-voxbox0.0.21", listen_address="0.0.0.0")

GOLDEN: Mapping[str, LaunchRequest] = {
    "one-device": ONE,
    "cpu": CPU,
    "container": CONTAINER,
    "container-cpu": replace(CPU, executable="", image=CONTAINER.image, listen_address="0.0.0.0"),
    "container-command": replace(CONTAINER, command=("/opt/own/start",)),
    "speaking": replace(ONE, model_path=Path("/models/CosyVoice2-0.5B"), categories=("text_to_speech",)),
    "parameters": replace(ONE, parameters=(Parameter(option="debug"),)),
}
