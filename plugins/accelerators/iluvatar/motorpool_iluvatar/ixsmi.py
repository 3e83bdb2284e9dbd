"""ixsmi: the XML of `ixsmi -q -x` in, records out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET  # of a command of the machine's own; nothing external is loaded

from motorpool_iluvatar import parsing
from motorpool_iluvatar.records import Card, Reading
from motorpool_sdk import DeviceError, Sample
from motorpool_sdk.hardware import CallError, Command, Unavailable, Verdict, measurement, pci_address

Found = tuple[Card, Reading]
_REMEDY = "Install Iluvatar's driver and CoreX, or look at `ixsmi` and `dmesg`"
# With its unit, as ixsmi writes even temperatures: `44 C`, `37 W`, `32768 MiB`.
_FIGURE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)(?: ?(?:C|W|%|MiB))?")
_VERSION = re.compile(r"\d[\w.]*")
_MEBIBYTE = 2**20


def cards(printed: str) -> list[Found]:
    """Return the cards of the XML with their figures; what stands before it is passed over."""
    start = printed.find("<ixsmi_log")
    try:
        log = ET.fromstring(printed[start:]) if start >= 0 else None  # noqa: S314  # as above
    except ET.ParseError:
        log = None
    if log is None:
        return []
    driver, cuda = (_version(log.findtext(name)) for name in ("driver_version", "cuda_version"))
    return [_found(index, gpu, driver, cuda) for index, gpu in enumerate(log.findall("gpu"))]


class Ixsmi:
    """A source of cards: ixsmi's XML."""

    def __init__(self) -> None:
        self._command = Command(["ixsmi"], folders=["/usr/local/corex/bin", "/usr/bin"], remedy=_REMEDY)

    @property
    def name(self) -> str:
        """The command."""
        return self._command.name

    @property
    def path(self) -> str:
        """Where it stands."""
        return self._command.path

    def cards(self) -> Sequence[Card | DeviceError]:
        """Return every card of the XML."""
        printed = self._command.output("-q", "-x")
        found = cards(printed)
        if not found:
            said = " ".join(printed.split())[:200] or "nothing"
            raise Unavailable(f"`ixsmi -q -x` printed no cards, but {said!r}. {_REMEDY}")
        message = "`ixsmi -q -x` prints no PCI address for it"
        return [
            card if card.pci_address else DeviceError(device_id=f"index {card.index}", message=message)
            for card, _ in found
        ]

    def measure(self, card: Card) -> Sample:
        """Return a card's figures."""
        reading = self._reading(card)
        return measurement(
            used_bytes=reading.used_bytes,
            total_bytes=reading.total_bytes,
            percent=reading.percent,
            celsius=reading.celsius,
            watts=reading.watts,
            processes=reading.processes,
        )

    def judge(self, card: Card) -> Verdict:
        """Return what its errors mean."""
        return parsing.verdict_of_errors(self._reading(card).double_bit_errors)

    def _reading(self, card: Card) -> Reading:
        for found, reading in cards(self._command.output("-q", "-x")):
            if found.pci_address == card.pci_address:
                return reading
        raise CallError("ixsmi -q -x", None, f"prints no card at {card.pci_address}")


def _found(index: int, gpu: ET.Element, driver: str, cuda: str) -> Found:
    total = _bytes(gpu, "memory_usage/total")
    minor = _figure(gpu, "minor_number")
    card = Card(
        index=index,
        pci_address=pci_address(gpu.get("id", "")) or pci_address(gpu.findtext("pci/pci_bus_id", "")),
        uuid=gpu.findtext("uuid", "").strip(),
        minor=None if minor is None else int(minor),
        name=_name(gpu.findtext("product_name", "")),
        total_bytes=total,
        driver_version=driver,
        cuda_version=cuda,
    )
    errors = _figure(gpu, "ecc_errors/double_bit")
    reading = Reading(
        used_bytes=_bytes(gpu, "memory_usage/used"),
        total_bytes=total,
        percent=_figure(gpu, "utilization/gpu_util"),
        celsius=_figure(gpu, "temperature/gpu_temp"),
        watts=_figure(gpu, "power_readings/gpu_power_draw"),
        processes=tuple(_processes(gpu)),
        double_bit_errors=None if errors is None else int(errors),
    )
    return card, reading


def _processes(gpu: ET.Element) -> Iterator[tuple[int, int | None]]:
    for process in gpu.findall("processes/process_info"):
        pid = _figure(process, "pid")
        if pid:
            yield int(pid), _bytes(process, "used_memory")


def _figure(element: ET.Element, path: str) -> float | None:
    match = _FIGURE.fullmatch(element.findtext(path, "").strip())
    return float(match[1]) if match else None


def _bytes(element: ET.Element, path: str) -> int | None:
    figure = _figure(element, path)
    return None if figure is None else int(figure * _MEBIBYTE)


def _name(written: str) -> str:
    return "" if written.strip() == "N/A" else written.strip()


def _version(written: str | None) -> str:
    match = _VERSION.fullmatch((written or "").strip())
    return match[0] if match else ""
