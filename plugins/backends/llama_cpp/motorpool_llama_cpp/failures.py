"""Ways in which llama.cpp fails, by what llama-server and our launcher of xllamacpp log, with its own options."""

from __future__ import annotations

from motorpool_sdk import KnownFailure

_LIGHTER = (
    "offload fewer layers with --n-gpu-layers, shorten the context with --ctx-size, or serve fewer requests at once "
    "with "
    "--parallel"
)

FAILURES = (
    KnownFailure(
        reason="PARAMETER_REFUSED",
        patterns=(
            "error: invalid argument: {argument}",
            'error while handling argument "{argument}":',
            "launcher: unknown option {argument};",
            "launcher: an option has a value that llama.cpp does not take: {argument}; say one of",
            "launcher: an option has a value that llama.cpp does not take: {argument}",
        ),
        message="llama.cpp does not take the argument {argument}",
        hint="correct or leave it out; this node's version of llama.cpp may know fewer than the newest",
    ),
    KnownFailure(
        reason="ARCHITECTURE_UNSUPPORTED",
        patterns=("unknown model architecture: '{architecture}'",),
        message="this version of llama.cpp does not know the architecture {architecture}",
        hint="install a newer llama.cpp on the node, or deploy another model",
    ),
    KnownFailure(
        reason="MODEL_CORRUPT",
        patterns=(
            "error loading model: tensor '{tensor}' data is not within the file bounds",
            "error loading model: invalid magic characters",
            "gguf_init_from_file{}: invalid magic characters",
            "launcher: model {} is no GGUF file",
        ),
        message="the model's file is cut short or damaged",
        hint="fetch it again, and compare its size with what the hub says",
    ),
    KnownFailure(
        reason="MODEL_NOT_FOUND",
        patterns=(
            "launcher: model {path} cannot be read: No such file or directory",
            "failed to open GGUF file '{path}' (No such file or directory)",
            "failed to open {path}: No such file or directory",
        ),
        message="the model's file {path} is not there",
        hint="copy it to the node, or correct the deployment's path",
    ),
    KnownFailure(
        reason="MODEL_UNREADABLE",
        patterns=("launcher: model {path} cannot be read: {why}",),
        message="the model's file {path} cannot be read ({why})",
        hint="give the agent's user the permission, and see to the disk",
    ),
    KnownFailure(
        reason="OUT_OF_MEMORY",
        patterns=(
            "unable to allocate CPU buffer",
            "failed to allocate CPU buffer",
            "failed to initialize the context: std::bad_alloc",
            "ggml_aligned_malloc: insufficient memory",
        ),
        message="the node's memory did not suffice for llama.cpp",
        hint="shorten the context with --ctx-size, serve fewer requests at once with --parallel, or claim more with "
        "--memory",
    ),
    KnownFailure(
        reason="DEVICE_OUT_OF_MEMORY",
        patterns=(
            "on device {device}: cudaMalloc failed: out of memory",
            "alloc_tensor_range: failed to allocate {device} buffer of size",
            "ggml_gallocr_reserve_n: failed to allocate {device} buffer of size",
            "error loading model: unable to allocate {device} buffer",
        ),
        message="the memory of device {device} did not suffice for llama.cpp",
        hint=_LIGHTER,
    ),
    KnownFailure(
        reason="DEVICE_OUT_OF_MEMORY",
        patterns=(
            "ErrorOutOfDeviceMemory",
            "failed to allocate compute buffers",
            "failed to allocate buffer for kv cache",
        ),
        message="a device's memory did not suffice for llama.cpp",
        hint=_LIGHTER,
    ),
    KnownFailure(
        reason="PORT_TAKEN",
        patterns=("launcher: cannot listen at {} port {port}: Address already in use",),
        message="another program listens on port {port}",
        hint="it is tried again on another one; `ss -ltnp` on the node shows who",
    ),
    KnownFailure(
        reason="MODEL_NOT_LOADED",
        patterns=("launcher: llama.cpp could not serve {}: {why}", "error loading model: {why}"),
        message="llama.cpp could not load the model ({why})",
        hint="`motorpool model inspect` on its path says what the file holds",
    ),
)
"""The more certain first."""
