"""AMD's place in the family of ROCm: its library, its driver, its number on the bus."""

from __future__ import annotations

import os

from motorpool_sdk.hardware.rocm import Family

_HOMES = tuple(home for name in ("ROCM_HOME", "ROCM_PATH") if (home := os.environ.get(name)))

AMD = Family(
    vendor="amd",
    framework="rocm",
    pci_vendor="1002",
    classes=("03", "12"),
    drivers=("amdgpu",),
    libraries=("librocm_smi64.so", *(f"librocm_smi64.so.{number}" for number in (7, 6, 5, 1))),
    folders=(*(f"{home}/lib" for home in _HOMES), "/opt/rocm/lib", "/opt/rocm-*/lib"),
    library_remedy=(
        "Install ROCm (in a container: mount /opt/rocm, /dev/kfd and /dev/dri), and run the agent as root or in the "
        "groups that own /dev/kfd and /dev/dri/renderD*"
    ),
    kernel_remedy="Load the kernel module amdgpu, and see `dmesg`",
    reset="rocm-smi --gpureset",
)
