"""llama.cpp holds to what every backend plugin must."""

from motorpool_sdk.testing import BackendContract


class TestLlamaCpp(BackendContract):
    package = "motorpool_llama_cpp"
