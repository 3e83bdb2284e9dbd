"""From a path or a folder to facts: what kind of model is there, and who reads it."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from motorpool_formats import gguf_files, hugging_face
from motorpool_formats.beginning import unknown_format
from motorpool_formats.errors import FormatError, ModelNotFoundError, ModelUnreadableError, shown
from motorpool_formats.facts import ModelFacts
from motorpool_formats.hugging_face import Spread
from motorpool_formats.places import LocalFolder, place_of
from motorpool_formats.protocols import Folder

_HUGGING_FACE_FILES = ("config.json", "model_index.json")
_HUGGING_FACE_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".onnx")


def read_model(path: Path, pattern: str = "", *, projector: str = "") -> ModelFacts:
    """Return the facts of the model at ``path`` on this machine, or raise a FormatError.

    Of a split model any part will do; of a folder, ``pattern`` and ``projector`` choose as in ``read_folder``. The
    pattern may stand in the path, after a colon: ``/models/qwen:*Q4_K_M*``.
    """
    try:
        if not pattern:
            path, pattern = place_of(path)
        mode = path.stat().st_mode
    except ValueError as error:  # a NUL or a lone surrogate in it: the operating system was not even asked
        raise ModelNotFoundError(str(path), "this is not a path", "check the path") from error
    except OSError as error:
        raise _unreadable(str(path), error) from error
    try:
        if stat.S_ISDIR(mode):
            return _read_folder(LocalFolder(path), pattern, projector)
        if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
            raise unknown_format(path.name or str(path), "it is not a regular file")
        return gguf_files.read_file(LocalFolder(path.parent, depth=0, suffix=gguf_files.SUFFIX), path.name)
    except OSError as error:
        raise _unreadable(str(path), error) from error


def read_folder(folder: Folder, pattern: str = "", *, projector: str = "", spread: Spread = map) -> ModelFacts:
    """Return the facts of the model in a folder, which may lie on a hub, or raise a FormatError.

    ``pattern`` is a file's name or a glob, of which the first match counts; without it a repository of GGUF files gives
    the one of the lowest quantisation. ``projector`` names the file for pictures and sound that is loaded beside it;
    without it the most precise that fits is taken. Only headers are read; those of a model in many parts through
    ``spread``, which may be the ``map`` of a pool of threads.
    """
    try:
        return _read_folder(folder, pattern, projector, spread)
    except OSError as error:
        raise _unreadable(folder.name, error) from error


def _read_folder(folder: Folder, pattern: str, projector: str, spread: Spread = map) -> ModelFacts:
    files = folder.files()
    has_gguf = any(gguf_files.is_gguf(name) for name in files)
    if has_gguf and (pattern or not _is_hugging_face(files)):
        return gguf_files.read_one_of(folder, files, pattern, projector)
    if not files:
        raise ModelNotFoundError(folder.name, "it is an empty folder", "name the folder that has the model's files")
    if pattern:
        raise ModelNotFoundError(
            folder.name,
            f"{shown(pattern)} names a GGUF file, and there is none in it",
            "leave the file out to read the folder as a whole",
        )
    return hugging_face.read(folder, spread=spread)


def _is_hugging_face(files: Mapping[str, int]) -> bool:
    """Return whether the folder is a model as Transformers and Diffusers save it; GGUF files may lie beside."""
    return any(name in files for name in _HUGGING_FACE_FILES) and any(
        PurePosixPath(name).suffix in _HUGGING_FACE_WEIGHTS for name in files
    )


def _unreadable(place: str, error: OSError) -> FormatError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ModelNotFoundError(
            place, "there is no such file", "check the path, and that this is the node that has it"
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ModelUnreadableError(place, f"it cannot be read: {reason}", "check the permissions and the disk")
