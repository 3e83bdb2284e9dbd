"""Why engines fail that have nothing in common but the machine: rows for what drivers, loaders and kernels say.

A backend's own rows (``Profile.failures``) come before these, as they know the engine's options by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from motorpool_sdk.backend import Profile
from motorpool_sdk.failures import KnownFailure, Recognised, recognise

# How to take less of a device, by what scheduling takes from an option.
_LIGHTER = {
    "memory_fraction": "lower --{}",
    "context_length": "shorten the context with --{}",
    "parallel": "serve fewer requests at once with --{}",
    "gpu_layers": "offload fewer layers with --{}",
}
_SMALLER = "take a smaller or more quantized model, or claim more with --device-memory"


def cause(profile: Profile | None, lines: Sequence[str]) -> Recognised | None:
    """Return what the end of a log says of why an engine ended, None where nobody knows; the backend's rows first."""
    own = () if profile is None else profile.failures
    return recognise((*own, _device_memory(profile), *COMMON), lines)


def _device_memory(profile: Profile | None) -> KnownFailure:
    """Return the row of memory that a device has not: what to do about it is the backend's options."""
    advice = [] if profile is None else list(_lighter(profile))
    return KnownFailure(
        reason="DEVICE_OUT_OF_MEMORY",
        patterns=(
            *("CUDA out of memory", "CUDA error: out of memory", "cudaMalloc failed: out of memory"),
            *("cudaErrorMemoryAllocation", "HIP out of memory", "hipErrorOutOfMemory", "HIP error: out of memory"),
            *(
                "NPU out of memory",
                "EL0004: ",
                "(EL0004)",
                "XPU out of memory",
                "MUSA out of memory",
                "MLU out of memory",
            ),
            *("OutOfDeviceMemory", "torch.OutOfMemoryError", "RESOURCE_EXHAUSTED: Out of memory"),
        ),
        message="the engine needed more memory than its device has",
        hint=f"{', '.join(advice)}, or {_SMALLER}" if advice else _SMALLER,
    )


def _lighter(profile: Profile) -> Iterator[str]:
    names = {option.meaning: option.name for option in reversed(profile.options) if option.meaning}
    if profile.fraction_option:
        names["memory_fraction"] = profile.fraction_option
    return (words.format(names[meaning]) for meaning, words in _LIGHTER.items() if meaning in names)


COMMON = (
    KnownFailure(
        reason="DRIVER_TOO_OLD",
        patterns=(
            "NVIDIA driver on your system is too old (found version {found})",
            "driver on your system is too old",
            "CUDA driver version is insufficient for CUDA runtime version",
            "hipErrorInsufficientDriver",
        ),
        message="the device's driver on this node is older than the engine needs",
        hint="upgrade the driver, or deploy a version of the backend that was built for this one",
    ),
    KnownFailure(
        reason="DEVICE_UNSUPPORTED",
        patterns=(
            "no kernel image is available for execution on the device",
            "hipErrorNoBinaryForGpu",
            "HIP error: invalid device function",
            "is not compatible with the current PyTorch installation",
        ),
        message="the engine was not built for this kind of device",
        hint="deploy another version or image of the backend, or pin other devices with --device",
    ),
    KnownFailure(
        reason="DEVICE_PERMISSION",
        patterns=(
            "Unable to open /dev/{node} read-write: Permission denied",
            "Unable to open /dev/{node} read-write: Operation not permitted",
            "Permission denied: '/dev/{node}'",
            "/dev/{node}: Permission denied",
            "/dev/{node}: Operation not permitted",
        ),
        message="the engine's user may not open /dev/{node}",
        hint="add the agent's user to the group that owns it (`ls -l` shows which), then restart the agent",
    ),
    KnownFailure(
        reason="DEVICE_MISSING",
        patterns=(
            "no CUDA-capable device is detected",
            "No CUDA GPUs are available",
            "No HIP GPUs are available",
            "hipErrorNoDevice",
            "CUDA_ERROR_NO_DEVICE",
        ),
        message="the engine sees none of the devices that it was given",
        hint="`motorpool-agent doctor` on the node says whether driver and container toolkit work",
    ),
    KnownFailure(
        reason="LIBRARY_MISSING",
        patterns=(
            "error while loading shared libraries: {library}: cannot open shared object file",
            "ImportError: {library}: cannot open shared object file",
            "OSError: {library}: cannot open shared object file",
            "version `{library}' not found (required by",
        ),
        message="the engine needs the library {library}, and this node or image has none that fits",
        hint="install it, or deploy an image that brings it; a driver's libraries come with the driver, and into a "
        "container with the vendor's container toolkit",
    ),
    KnownFailure(
        reason="PACKAGE_MISSING",
        patterns=("ModuleNotFoundError: No module named '{package}'",),
        message="the engine's Python has no package {package}",
        hint="install it in the engine's environment, or deploy an image that has it",
    ),
    KnownFailure(
        reason="CPU_UNSUPPORTED",
        patterns=("Illegal instruction", "illegal hardware instruction"),
        message="the engine was built for another kind of processor than this node's",
        hint="deploy another version or image of the backend, or to another node with --node-label",
    ),
    KnownFailure(
        reason="IMAGE_ARCHITECTURE",
        patterns=("exec format error", "Exec format error"),
        message="the program was built for another architecture of processor than this node's",
        hint="deploy an image for this one, or to another node with --node-label",
    ),
    KnownFailure(
        reason="SHARED_MEMORY_FULL",
        patterns=(
            "Error while creating shared memory segment {segment} (size",
            "No space left on device: '/dev/shm",
            "unable to allocate shared memory(shm)",
        ),
        message="the shared memory through which the engine's processes talk is full",
        hint="give /dev/shm more room on the node, or by the container engine's default-shm-size",
    ),
    KnownFailure(
        reason="DISK_FULL",
        patterns=("No space left on device", "Disk quota exceeded"),
        message="the engine found a disk of the node full",
        hint="free some space (`df -h` on the node shows where); it is tried again by itself",
    ),
    KnownFailure(
        reason="OUT_OF_MEMORY",
        patterns=(
            *("std::bad_alloc", "Cannot allocate memory", "DefaultCPUAllocator: can't allocate memory"),
            *("DefaultCPUAllocator: not enough memory", "MemoryError"),
        ),
        message="the node's memory did not suffice for what the engine asked for",
        hint="shorten the context, serve fewer requests at once, or claim more with --memory",
    ),
    KnownFailure(
        reason="PORT_TAKEN",
        patterns=("ddress already in use", "EADDRINUSE"),
        message="another program has a port that the engine wanted",
        hint="it is tried again; `ss -ltnp` on the node shows who listens where",
    ),
    KnownFailure(
        reason="MODEL_CORRUPT",
        patterns=("Error while deserializing header", "SafetensorError: ", "MetadataIncompleteBuffer"),
        message="a file of the model is cut short or damaged",
        hint="fetch it again, and compare its size with what the hub says",
    ),
    KnownFailure(
        reason="FILE_UNREADABLE",
        patterns=("Permission denied: '{path}'", "PermissionError: {path}"),
        message="the engine's user may not read or write {path}",
        hint="give the agent's user the permission",
    ),
    KnownFailure(
        reason="FILE_MISSING",
        patterns=("No such file or directory: '{path}'",),
        message="a file that the engine needs is not there: {path}",
        hint="complete the model's folder, or correct the deployment",
    ),
    KnownFailure(
        reason="HUB_ASKED",
        patterns=(
            "couldn't connect to '{hub}' to load",
            "LocalEntryNotFoundError",
            "outgoing traffic has been disabled",
        ),
        message="the engine asked a hub for a part of the model that is not at its path",
        hint="copy the whole repository to the node, tokenizer and configuration too",
    ),
)
"""What engines have in common, the more certain first."""
