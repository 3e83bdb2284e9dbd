"""Requests whose whole launches stand in ``launches/``: a file a request."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from motorpool_sdk import Definition, LaunchRequest, Parameter

PROCESS = Definition(
    backend="echo",
    version="1.0",
    command=("/opt/echo", "--port", "{{port}}", "--model={{ model_path }}", "--as", "{{model_name}}", "{{GREETING}}"),
    env={"GREETING": "hello", "WHERE": "{{node_ip}}:{{port}}"},
    api_key_env="ECHO_KEY",
    health_path="/health",
    start_timeout_seconds=20.0,
    stop_grace_seconds=3.0,
)
IMAGE = replace(
    PROCESS,
    command=("--cards", "{{gpu_ids}}", "--number", "{{gpu_count}}"),
    image="echo:1",
    entrypoint=("/app/serve", "{{model_name}}"),
    container_port=8080,
)
PLAIN = LaunchRequest(
    backend_version="1.0",
    framework="cpu",
    model_path=Path("/models/some model.bin"),
    served_model_name="chat",
    listen_address="10.0.0.7",
    port=24000,
    api_key="sesame",
    definition=PROCESS,
)
CARDS = replace(
    PLAIN,
    framework="cuda",
    device_ids=("GPU-c", "GPU-d"),
    device_indexes=(2, 3),
    image="echo:1",
    listen_address="0.0.0.0",
    definition=IMAGE,
)

GOLDEN: Mapping[str, LaunchRequest] = {
    "process": PLAIN,
    "process-without-key": replace(PLAIN, api_key=""),
    "deployments-environment": replace(PLAIN, env={"GREETING": "good 'day' {{port}}"}),
    "parameters": replace(
        PLAIN,
        parameters=(
            Parameter(option="--level", values=("3",), known=False),
            Parameter(option="-v", known=False),
        ),
    ),
    "devices-in-a-container": CARDS,
    "cann": replace(CARDS, framework="cann"),
    "container-cpu": replace(CARDS, framework="cpu", device_ids=(), device_indexes=()),
    "process-in-an-image": replace(PLAIN, image="other:2", listen_address="0.0.0.0"),
}
