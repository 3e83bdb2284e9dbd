"""Packages that are installed in an image before it runs."""

import pytest

from motorpool_controller.domain.packages import package_faults


@pytest.mark.parametrize("package", ["timm", "timm==1.0.25", "Some.Thing-x_y[a,b]>=1.2,<2", "torch==2.9.0+cu129"])
def test_a_name_with_its_version_is_a_package(package: str) -> None:
    """
    Names, extras and bounds as pip takes them.
    """
    assert [] == list(package_faults([package], "spec.packages"))


@pytest.mark.parametrize(
    "package",
    [
        "",
        "-r file",
        "--index-url=x",
        "timm 1.0",
        "git+https://x/y",
        "x @ file:///x",
        "/x.whl",
        "../x",
        "x;y",
        "x\n",
        "é",
    ],
)
def test_addresses_paths_and_options_are_none(package: str) -> None:
    """
    What would fetch from elsewhere, read the node or change what pip does is refused, naming it.
    """
    ((field, message),) = package_faults([package], "spec.packages")

    assert "spec.packages" == field
    assert "write a name with its version" in message


def test_there_is_a_most() -> None:
    """
    Who needs more builds an image.
    """
    assert 1 == len(list(package_faults(["timm"] * 65, "spec.packages")))
