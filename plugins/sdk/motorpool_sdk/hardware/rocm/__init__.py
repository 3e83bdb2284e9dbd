"""Cards under ROCm, AMD's and of makers of forks: ROCm SMI's library, the kernel's files, and what they mean."""

from motorpool_sdk.hardware.rocm.family import Family
from motorpool_sdk.hardware.rocm.kernel import Kernel, KfdNode, completed, kfd_nodes, nodes_of
from motorpool_sdk.hardware.rocm.library import RocmSmi
from motorpool_sdk.hardware.rocm.parsing import devices, product, sample
from motorpool_sdk.hardware.rocm.records import Card, Reading, Running

__all__ = [
    "Card",
    "Family",
    "Kernel",
    "KfdNode",
    "Reading",
    "RocmSmi",
    "Running",
    "completed",
    "devices",
    "kfd_nodes",
    "nodes_of",
    "product",
    "sample",
]
