"""MindIE holds to what every backend plugin must."""

from motorpool_sdk.testing import BackendContract


class TestMindie(BackendContract):
    package = "motorpool_mindie"
