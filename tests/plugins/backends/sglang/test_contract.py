"""SGLang holds to what every backend plugin must."""

from motorpool_sdk.testing import BackendContract


class TestSglang(BackendContract):
    package = "motorpool_sglang"
