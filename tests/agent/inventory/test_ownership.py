"""A device that several plugins list is one plugin's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.inventory.ownership import owned
from motorpool_sdk import Device

GIB = 2**30


def device(device_id: str, vendor: str = "amd", address: str = "") -> Device:
    return Device(device_id=device_id, vendor=vendor, framework="rocm", pci_address=address, memory_bytes=GIB)


def listed(*devices: Device) -> dict[str, Device]:
    return {each.device_id: each for each in devices}


def test_what_one_plugin_lists_is_its_own() -> None:
    """
    Devices of one plugin stand as they are, also those that share an address.
    """
    dies = listed(device("0000:01:00.0", address="0000:01:00.0"), device("0000:01:00.0-chip1", address="0000:01:00.0"))

    ownership = owned({"amd": dies, "none": {}})

    assert (dies, {}) == (ownership.devices, ownership.remarks)
    assert {"amd"} == set(ownership.plugins.values())


def test_one_id_or_one_address_is_one_device() -> None:
    """
    The first plugin by name has it, whatever the other calls it, and the other says whom it left it to.
    """
    ours = listed(device("0000:01:00.0", address="0000:01:00.0"), device("same"))
    theirs = listed(
        device("GPU-7", "zed", "0000:01:00.0"), device("same", "zed"), device("GPU-8", "zed", "0000:02:00.0")
    )

    ownership = owned({"zed": theirs, "amd": ours})

    assert {"0000:01:00.0": "amd", "same": "amd", "GPU-8": "zed"} == ownership.plugins
    assert "amd" == ownership.devices["same"].vendor
    assert {"zed"} == set(ownership.remarks)
    assert "GPU-7 (amd), same (amd); block one of each" in ownership.remarks["zed"]


PLUGINS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(st.sampled_from(["x", "y", "z"]), st.sampled_from(["", "0000:01:00.0", "0000:02:00.0"])),
)


@given(PLUGINS)
def test_no_device_counts_twice_whatever_the_order(made: dict[str, dict[str, str]]) -> None:
    """
    Of no id and no address is there more than one plugin, and the order in which plugins are asked changes nothing.
    """
    everything = {
        plugin: listed(*(device(each, plugin, address) for each, address in devices.items()))
        for plugin, devices in made.items()
    }
    ownership = owned(everything)
    turned = dict(reversed(everything.items()))

    assert ownership == owned(turned)
    for address in ("0000:01:00.0", "0000:02:00.0"):
        holders = {ownership.plugins[key] for key, each in ownership.devices.items() if each.pci_address == address}
        assert len(holders) <= 1
    for plugin, devices in everything.items():
        assert {key for key in devices if ownership.plugins.get(key) != plugin} == set() or plugin in ownership.remarks
