import gguf
import pytest

from motorpool_formats.ggml import FILE_TYPES, REMOVED_TENSOR_TYPES, TENSOR_TYPES

# The engine (ggml's block_q8_1) has 36 bytes; the Python package still has the layout of 2023.
WRONG_IN_THE_PYTHON_PACKAGE = {"Q8_1"}


@pytest.mark.parametrize(
    "their", [their for their in gguf.GGMLQuantizationType if their.name not in WRONG_IN_THE_PYTHON_PACKAGE]
)
def test_block_sizes_are_the_gguf_packages(their: gguf.GGMLQuantizationType) -> None:
    """
    A tensor type's name and block size are those of the gguf package, of every type that it knows.
    """
    assert (their.name, *gguf.GGML_QUANT_SIZES[their]) == TENSOR_TYPES[their.value]


@pytest.mark.parametrize("their", [their for their in gguf.LlamaFileType if their != gguf.LlamaFileType.GUESSED])
def test_file_types_are_the_gguf_packages(their: gguf.LlamaFileType) -> None:
    """
    A file type's name is the gguf package's without its MOSTLY.
    """
    assert their.name.removeprefix("MOSTLY_").removeprefix("ALL_") == FILE_TYPES[their.value]


def test_a_type_is_known_or_removed() -> None:
    """
    No number stands for a type that is read and for one that llama.cpp removed.
    """
    assert not REMOVED_TENSOR_TYPES & TENSOR_TYPES.keys()
