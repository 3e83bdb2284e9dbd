"""vLLM holds to what every backend plugin must."""

from motorpool_sdk.testing import BackendContract


class TestVllm(BackendContract):
    package = "motorpool_vllm"
