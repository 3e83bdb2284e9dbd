"""dcmi_interface_api.h in Python: structures, signatures, codes.

As published with Huawei's mind-cluster and in its DCMI reference. Every structure says its size; the tests hold it to
what a C compiler makes of the same.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int, c_uint, c_ulong, c_ulonglong

NOT_SUPPORTED = -8255
NOT_PERMITTED = -8002
NPU = 0
UTILIZATION_OF_AICORE = 2  # what npu-smi shows
ROCE_PORT = 1
IPV4 = 0
# dcmi_get_device_info's main command for virtual devices, and what can be asked by it.
VIRTUAL_DEVICES = 52
VDEV_RESOURCE, TOTAL_RESOURCE, VDEV_ACTIVITY = 0, 1, 5
MOST_VDEVS = 32  # DCMI_SOC_SPLIT_MAX
MEANINGS = {
    -8001: "invalid parameter",
    NOT_PERMITTED: "not permitted",
    -8003: "no memory left",
    -8004: "a safe function failed",
    -8005: "inner error",
    -8006: "timed out",
    -8007: "invalid device id",
    -8008: "the device does not exist",
    -8009: "the driver refused the call",
    -8010: "message not sent",
    -8011: "message not received",
    -8012: "not ready",
    -8013: "not supported in a container",
    -8015: "reset failed",
    -8017: "the device is being upgraded",
    -8020: "the resource is occupied",
    -8023: "no configuration",
    NOT_SUPPORTED: "not supported",
}


class ChipInfo(ctypes.Structure):
    """dcmi_chip_info_v2, 132 bytes [H]; its first 100 are dcmi_chip_info."""

    _fields_ = (
        ("chip_type", ctypes.c_char * 32),
        ("chip_name", ctypes.c_char * 32),
        ("chip_ver", ctypes.c_char * 32),
        ("aicore_cnt", c_uint),
        ("npu_name", ctypes.c_char * 32),
    )


class HbmInfo(ctypes.Structure):
    """dcmi_hbm_info, 32 bytes; sizes in MiB [H]."""

    _fields_ = (
        ("memory_size", c_ulonglong),
        ("freq", c_uint),
        ("memory_usage", c_ulonglong),
        ("temp", c_int),
        ("bandwidth_util_rate", c_uint),
    )


class MemoryInfo(ctypes.Structure):
    """dcmi_get_memory_info_stru, 112 bytes on 64 bits (its header's "96" is of 32 bits); sizes in MiB [H]."""

    _fields_ = (
        ("memory_size", c_ulonglong),
        ("memory_available", c_ulonglong),
        ("freq", c_uint),
        ("hugepagesize", c_ulong),
        ("hugepages_total", c_ulong),
        ("hugepages_free", c_ulong),
        ("utiliza", c_uint),
        ("reserve", ctypes.c_ubyte * 60),
    )


class PcieInfo(ctypes.Structure):
    """dcmi_pcie_info_all, 64 bytes [H]."""

    _fields_ = (
        ("venderid", c_uint),
        ("subvenderid", c_uint),
        ("deviceid", c_uint),
        ("subdeviceid", c_uint),
        ("domain", c_int),
        ("bdf_busid", c_uint),
        ("bdf_deviceid", c_uint),
        ("bdf_funcid", c_uint),
        ("reserve", ctypes.c_ubyte * 32),
    )


class IpAddress(ctypes.Structure):
    """dcmi_ip_addr, 20 bytes: a union of 16 bytes, then 0 for IPv4 [H]."""

    _fields_ = (("address", ctypes.c_ubyte * 16), ("ip_type", c_int))


class ProcessMemory(ctypes.Structure):
    """dcmi_proc_mem_info, 16 bytes; usage in bytes [H]."""

    _fields_ = (("proc_id", c_int), ("proc_mem_usage", c_ulong))


class BaseResource(ctypes.Structure):
    """dcmi_base_resource, 64 bytes [H: dcmi_interface_api.h of Ascend's driver 23 to 25, as in mind-cluster]."""

    _fields_ = (
        *((name, c_ulonglong) for name in ("token", "token_max", "task_timeout")),
        ("vfg_id", c_uint),
        ("vip_mode", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte * 31),
    )


class ComputingResource(ctypes.Structure):
    """dcmi_computing_resource, 96 bytes; memory_size in MiB, vdev_memory_… in KiB [H, as above].

    Headers of driver 22 have 32 reserved bytes from ``vdev_aicore_utilization`` on: the size is the same.
    """

    _fields_ = (
        ("aic", ctypes.c_float),
        ("aiv", ctypes.c_float),
        ("units", ctypes.c_ushort * 8),  # dsa, rtsq, acsq, cdqm, c_core, ffts, sdma, pcie_dma
        ("memory_size", c_ulonglong),
        ("ids", c_uint * 4),  # event, notify, stream, model
        ("cpus", ctypes.c_ushort * 5),  # topic_schedule_aicpu, host_ctrl_cpu, host_aicpu, device_aicpu, slots
        ("vdev_aicore_utilization", c_uint),
        ("vdev_memory_total", c_ulonglong),
        ("vdev_memory_free", c_ulonglong),
        ("reserved", ctypes.c_ubyte * 12),
    )


class MediaResource(ctypes.Structure):
    """dcmi_media_resource, 56 bytes [H, as above]."""

    _fields_ = (("units", ctypes.c_float * 6), ("reserved", ctypes.c_ubyte * 32))


class VdevQuery(ctypes.Structure):
    """dcmi_vdev_query_stru, 264 bytes: which virtual device is asked about, then dcmi_vdev_query_info [H, as above]."""

    _fields_ = (
        ("vdev_id", c_uint),
        ("aligned", c_uint),
        ("name", ctypes.c_char * 16),
        ("status", c_uint),
        ("is_container_used", c_uint),
        ("vfid", c_uint),
        ("vfg_id", c_uint),
        ("container_id", c_ulonglong),
        ("base", BaseResource),
        ("computing", ComputingResource),
        ("media", MediaResource),
    )


class TotalResource(ctypes.Structure):
    """dcmi_soc_total_resource, 360 bytes: the virtual devices of a chip [H, as above]."""

    _fields_ = (
        ("vdev_num", c_uint),
        ("vdev_id", c_uint * MOST_VDEVS),
        ("vfg_num", c_uint),
        ("vfg_bitmap", c_uint),
        ("base", BaseResource),
        ("computing", ComputingResource),
        ("media", MediaResource),
    )


_INT, _UINT = POINTER(c_int), POINTER(c_uint)
_CHIP = (c_int, c_int)
# The questions of a chip: what both generations of the API have after the numbers that say which chip.
QUESTIONS: dict[str, tuple[str, str, tuple[object, ...]]] = {
    "chip_info": ("dcmi_get_device_chip_info_v2", "dcmiv2_get_device_chip_info", (POINTER(ChipInfo),)),
    "hbm": ("dcmi_get_device_hbm_info", "dcmiv2_get_device_hbm_info", (POINTER(HbmInfo),)),
    "pcie": ("dcmi_get_device_pcie_info_v2", "dcmiv2_get_device_pcie_info", (POINTER(PcieInfo),)),
    "utilization": ("dcmi_get_device_utilization_rate", "dcmiv2_get_device_utilization_rate", (c_int, _UINT)),
    "temperature": ("dcmi_get_device_temperature", "dcmiv2_get_device_temperature", (_INT,)),
    "power": ("dcmi_get_device_power_info", "dcmiv2_get_device_power_info", (_INT,)),
    "health": ("dcmi_get_device_health", "dcmiv2_get_device_health", (_UINT,)),
}
SIGNATURES: dict[str, tuple[object, ...]] = {
    "dcmi_init": (),
    "dcmiv2_init": (),
    "dcmi_get_card_list": (_INT, _INT, c_int),
    "dcmi_get_card_num_list": (_INT, _INT, c_int),  # the same, of older drivers
    "dcmi_get_device_num_in_card": (c_int, _INT),
    "dcmi_get_device_type": (*_CHIP, _INT),
    "dcmi_get_device_logic_id": (_INT, *_CHIP),
    "dcmi_get_device_info": (*_CHIP, c_int, c_uint, ctypes.c_void_p, _UINT),
    "dcmi_get_device_phyid_from_logicid": (c_uint, _UINT),
    "dcmi_get_device_chip_info": (*_CHIP, POINTER(ChipInfo)),
    "dcmi_get_device_memory_info_v3": (*_CHIP, POINTER(MemoryInfo)),
    "dcmi_get_device_resource_info": (*_CHIP, POINTER(ProcessMemory), _INT),
    "dcmi_get_device_ip": (*_CHIP, c_int, c_int, POINTER(IpAddress), POINTER(IpAddress)),
    "dcmi_get_topo_info_by_device_id": (*_CHIP, *_CHIP, _INT),
    "dcmi_get_driver_version": (c_char_p, c_uint),
    "dcmiv2_get_device_list": (_INT, _INT, c_int),
    "dcmiv2_get_chip_phy_id_by_dev_id": (c_uint, _UINT),
    **{first: (*_CHIP, *rest) for first, _, rest in QUESTIONS.values()},
    **{second: (c_int, *rest) for _, second, rest in QUESTIONS.values()},
}
