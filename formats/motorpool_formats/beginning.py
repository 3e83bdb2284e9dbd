"""The first bytes of a file: whether it is GGUF, and if not, what it is taken for."""

from motorpool_formats.errors import ModelCorruptError, ModelFormatUnknownError, ModelIncompleteError
from motorpool_formats.window import Window

MAGIC = b"GGUF"
SUPPORTED = "GGUF files (.gguf) and folders of Hugging Face repositories can be read"

_GIT_LFS_POINTER = b"version https://git-lfs"


def pass_magic(window: Window) -> None:
    """Pass the magic number of a GGUF file, or raise what the file is instead."""
    name, beginning = window.name, window.peek(len(_GIT_LFS_POINTER))
    if beginning.startswith(MAGIC):
        window.skip(len(MAGIC), "the magic number")
    elif not beginning:
        raise ModelIncompleteError(name, "the file is empty", "finish the download or repeat it")
    elif beginning.startswith(_GIT_LFS_POINTER):
        raise ModelIncompleteError(name, "it is a Git LFS pointer, not the model", "run git lfs pull")
    elif name.lower().endswith(".gguf"):
        if MAGIC.startswith(beginning):
            raise ModelIncompleteError(name, "the file ends in its magic number", "finish the download or repeat it")
        raise ModelCorruptError(name, "it does not begin with GGUF", "download the model again", offset=0)
    elif name.lower().endswith(".safetensors") or beginning[8:9] == b"{":
        raise unknown_format(name, "it looks like safetensors", "name the folder it is in")
    else:
        raise unknown_format(name, "its format is not known")


def unknown_format(name: str, what: str, todo: str = "give another file") -> ModelFormatUnknownError:
    """Return the error for something whose format is not among the supported ones."""
    return ModelFormatUnknownError(name, f"{what}; {SUPPORTED}", todo)
