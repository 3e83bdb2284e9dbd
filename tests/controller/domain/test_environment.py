import pytest

from motorpool_agent.policy import floor
from motorpool_controller.domain.environment import why_owned


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "PATH", "PYTHONPATH", "BASH_ENV"])
def test_what_changes_code_is_owned(name: str) -> None:
    """
    A variable by which other code would be loaded cannot be set, and the reason says so.
    """
    assert "changes which code the engine runs" in (why_owned(name) or "")


@pytest.mark.parametrize(
    "name",
    ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"],
)
def test_what_shows_devices_is_owned(name: str) -> None:
    """
    Which devices an engine sees is the placement's word; the reason names the field for it.
    """
    assert "pin devices with device_selector" in (why_owned(name) or "")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "HF_TOKEN", "HTTPS_PROXY", "VLLM_USE_V1", "PYTHONUNBUFFERED"])
def test_what_tunes_an_engine_is_not(name: str) -> None:
    """
    What tunes an engine is the deployment's own.
    """
    assert None is why_owned(name)


def test_what_an_agent_denies_is_refused_before_it_is_placed() -> None:
    """
    Each name and pattern on the agents' list is refused by the controller already.
    """
    names = {pattern.replace("*", "A_") for pattern in floor.ENVIRONMENT}

    assert set() == {name for name in names if why_owned(name) is None}
