"""Libraries of C, loaded for real."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from motorpool_sdk.hardware import CallError, CLibrary, Unavailable, text

SOURCE = """
int vendor_init(void) { return 0; }
int vendor_count(int *count) { *count = 3; return 0; }
int vendor_refuse(void) { return -7; }
unsigned vendor_bare_count(void) { return 4000000000u; }
"""
SIGNATURES = {
    "vendor_init": (),
    "vendor_count": (ctypes.POINTER(ctypes.c_int),),
    "vendor_refuse": (),
    "vendor_bare_count": (),
    "vendor_newer": (),
}


@pytest.fixture(name="folder", scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libvendor.so.2."""
    folder = tmp_path_factory.mktemp("vendor")
    (folder / "vendor.c").write_text(SOURCE)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(folder / "libvendor.so.2"), str(folder / "vendor.c")],
        check=True,
        timeout=100,
    )
    return folder


def library(*folders: str) -> CLibrary:
    return CLibrary(
        ["libvendor.so.9", "libvendor.so.2"],
        SIGNATURES,
        remedy="Install the driver",
        folders=folders,
        returns={"vendor_bare_count": ctypes.c_uint},
        meanings={-7: "no such device"},
    )


def test_a_library_is_found_by_a_folder_with_wildcards(folder: Path) -> None:
    """
    Folders of releases are searched, for each of its names; where it was found is told.
    """
    loaded = library(f"{folder.parent}/vendo*")
    count = ctypes.c_int()

    loaded.call("vendor_count", ctypes.byref(count))

    assert (3, str(folder / "libvendor.so.2")) == (count.value, loaded.path)
    assert 4000000000 == loaded.value("vendor_bare_count")
    assert (True, False) == (loaded.has("vendor_init"), loaded.has("vendor_newer"))


def test_a_code_is_an_error_with_its_meaning(folder: Path) -> None:
    """
    A function that refuses is named, with its code and what that means.
    """
    loaded = library(str(folder))

    with pytest.raises(CallError, match=r"^vendor_refuse: -7 \(no such device\)$"):
        loaded.call("vendor_refuse")
    assert not loaded.succeeds("vendor_refuse")
    assert loaded.succeeds("vendor_init")


def test_a_function_that_is_not_there_is_an_error(folder: Path) -> None:
    """
    An older driver's library lacks functions: one question fails, and no more.
    """
    with pytest.raises(CallError, match=r"vendor_newer: libvendor\.so\.9 of this driver has no such function"):
        library(str(folder)).call("vendor_newer")


def test_no_library_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The loader's words, the folders and the remedy are in the error; a file that is no library is told from none.
    """
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/vendor/lib")
    (tmp_path / "libvendor.so.2").write_text("no library")

    with pytest.raises(Unavailable) as caught:
        library(str(tmp_path)).call("vendor_init")

    for said in (
        "libvendor.so.9: cannot open",
        "/opt/vendor/lib",
        str(tmp_path),
        "file too short",
        "Install the driver",
    ):
        assert said in str(caught.value)


def test_text_ends_at_its_nul() -> None:
    """
    What is in an array of characters is text up to its NUL; bytes that are none are no text.
    """
    assert "K100_AI" == text((ctypes.c_ubyte * 12)(*b"K100_AI\0ab"))
    assert "" == text((ctypes.c_ubyte * 3)(0xFF, 0xFE, 0))
