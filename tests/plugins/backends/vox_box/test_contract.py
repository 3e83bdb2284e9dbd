"""vox-box holds to what every backend plugin must."""

from motorpool_sdk.testing import BackendContract


class TestVoxBox(BackendContract):
    package = "motorpool_vox_box"
    names_models = False
