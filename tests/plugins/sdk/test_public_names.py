"""What plugin authors import."""

import motorpool_sdk
import motorpool_sdk.hardware
import motorpool_sdk.testing


def test_public_names_are_sorted_and_exist() -> None:
    """
    Every public name is there, and the list has one order.
    """
    for module in (motorpool_sdk, motorpool_sdk.hardware, motorpool_sdk.testing):
        assert sorted(module.__all__) == module.__all__
        assert all(hasattr(module, name) for name in module.__all__)
