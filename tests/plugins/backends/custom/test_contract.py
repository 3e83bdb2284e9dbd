"""What every backend plugin holds to, held by the one that runs declared backends."""

from motorpool_sdk.testing import BackendContract


class TestCustom(BackendContract):
    package = "motorpool_custom"
