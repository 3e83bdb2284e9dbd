"""Hygon's place in the family of ROCm: its fork of the library, its driver under both names, its number on the bus."""

from __future__ import annotations

import os

from motorpool_sdk.hardware.rocm import Family

_TOLD = tuple(folder for folder in (os.environ.get("ROCM_SMI_LIB_PATH"),) if folder)

HYGON = Family(
    vendor="hygon",
    framework="dtk",
    pci_vendor="1d94",
    # "Co-processor"; the same vendor's bridges are 06, and some cards are shown as displays.
    classes=("0b40", "03", "12"),
    # hycu since release 6.3, hydcu before.
    drivers=("hycu", "hydcu"),
    libraries=("librocm_smi64.so.2",),
    folders=(
        *_TOLD,
        *("/opt/hyhal/lib", "/usr/local/hyhal/lib", "/opt/rocm/rocm_smi/lib"),
        *("/opt/dtk/.hyhal/rocm_smi/lib", "/opt/dtk-*/.hyhal/rocm_smi/lib", "/opt/dtk-*/rocm_smi/lib"),
    ),
    library_remedy=(
        "Install the driver of Hygon (in a container: mount /opt/hyhal, /dev/kfd, /dev/mkfd, /dev/dri), and run the "
        "agent as root or in the groups that own those"
    ),
    kernel_remedy="Load the kernel module hycu (hydcu before release 6.3), and see `dmesg`",
    reset="hy-smi --gpureset",
)
