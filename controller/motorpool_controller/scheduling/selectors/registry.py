"""The selectors, by the memory model that a backend's profile names. No backend is known by name here."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool_controller.domain.fleet import MemoryModel
from motorpool_controller.scheduling.selectors import fixed, layers
from motorpool_controller.scheduling.selectors.places import Select

SELECTORS: Mapping[MemoryModel, Select] = {
    MemoryModel.LAYERS: layers.select,
    MemoryModel.FIXED: fixed.select,
}
