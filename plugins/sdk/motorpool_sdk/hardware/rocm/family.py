"""What tells one maker of cards under ROCm, or under a fork of it, from another."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A vendor: how its cards are called, found on the bus and served by the kernel, and where its library stands.

    ``classes`` are beginnings of PCI classes, ``drivers`` kernel drivers, the newest first; ``folders`` may have
    wildcards; ``reset`` is the command that resets a card, for messages.
    """

    vendor: str
    framework: str
    pci_vendor: str
    classes: tuple[str, ...]
    drivers: tuple[str, ...]
    libraries: tuple[str, ...]
    folders: tuple[str, ...]
    library_remedy: str
    kernel_remedy: str
    reset: str
