"""libhydmi, which tells what virtual DCUs use, through ctypes.

Signatures and layout are those of dmi_virtual.h as Hygon publishes it with its exporters.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char, c_int, c_size_t, c_uint64

from motorpool_sdk.hardware import CallError, CLibrary, Unavailable

_MEANINGS = {
    1: "error",
    2: "no memory left",
    3: "/dev/mkfd cannot be opened",
    4: "/dev/mkfd is open already",
    5: "no such node of sysfs",
    6: "not supported",
    7: "/dev/mkfd is not open",
    10: "invalid argument",
}
_REMEDY = "Install the driver of Hygon (in a container: mount /opt/hyhal)"


class DeviceInfo(ctypes.Structure):
    """dmiDeviceInfo, 296 bytes; sizes in bytes [H]."""

    _fields_ = (
        ("name", c_char * 256),
        ("compute_unit_count", c_int),
        ("global_mem_size", c_size_t),
        ("usage_mem_size", c_size_t),
        ("container_id", c_uint64),
        ("device_id", c_int),
    )


_SIGNATURES: dict[str, tuple[object, ...]] = {
    "dmiInit": (),
    "dmiGetVDeviceInfo": (c_int, POINTER(DeviceInfo)),
    "dmiGetVDevBusyPercent": (c_int, POINTER(c_int)),
}


class Hydmi:
    """What virtual DCUs use, in one session that is opened when first needed."""

    def __init__(self) -> None:
        self._library = CLibrary(
            ["libhydmi.so.1", "libhydmi.so"],
            _SIGNATURES,
            remedy=_REMEDY,
            folders=["/opt/hyhal/lib", "/usr/local/hyhal/lib", "/opt/dtk/.hyhal/lib", "/opt/dtk/lib"],
            meanings=_MEANINGS,
        )
        self._is_open = False

    def usage(self, number: int) -> tuple[int | None, int | None]:
        """Return used bytes and the load in percent of a virtual DCU, None for each that is not told."""
        info, percent = DeviceInfo(), c_int()
        try:
            self._open()
            self._library.call("dmiGetVDeviceInfo", number, byref(info))
        except (Unavailable, CallError):
            return None, None
        is_known = self._library.succeeds("dmiGetVDevBusyPercent", number, byref(percent))
        return info.usage_mem_size, percent.value if is_known else None

    def _open(self) -> None:
        if self._is_open:
            return
        self._library.load()
        # Not every release has it: those open /dev/mkfd at the first question.
        if self._library.has("dmiInit"):
            self._library.call("dmiInit")
        self._is_open = True
