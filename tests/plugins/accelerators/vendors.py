"""Every vendor that there is a plugin for, as its tests make it up."""

from __future__ import annotations

from tests.plugins.accelerators.amd import cards as amd
from tests.plugins.accelerators.ascend import board as ascend
from tests.plugins.accelerators.cambricon import cards as cambricon
from tests.plugins.accelerators.hygon import cards as hygon
from tests.plugins.accelerators.iluvatar import cards as iluvatar
from tests.plugins.accelerators.metax import cards as metax
from tests.plugins.accelerators.mthreads import cards as mthreads
from tests.plugins.accelerators.nvidia import machine as nvidia

VENDORS = {
    made.name: made
    for made in (
        *(nvidia.MADE, amd.MADE, ascend.MADE, hygon.MADE),
        *(mthreads.MADE, iluvatar.MADE, metax.MADE, cambricon.MADE),
    )
}
