"""The JSON files of a model's folder, read within bounds and asked for values of a type."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from motorpool_formats.errors import ModelCorruptError, ModelIncompleteError, shown
from motorpool_formats.protocols import Folder

MAX_DOCUMENT_BYTES = 1 << 20
"""A hundred times a large config.json. Parsed, the worst JSON takes about thirty times its size."""

MAX_NUMBER = (1 << 31) - 1
"""Sizes and counts travel in 32 bits; no model comes near."""

MAX_ITEMS = 4_096
"""Values of a list with one for each layer."""

_REPAIR = "correct it or download it again"


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object with typed access: absent and null are None, the wrong type is an error that names the key."""

    file: str
    values: Mapping[str, object]
    path: str = ""

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def whole(self, *keys: str) -> int | None:
        """Return the whole number of the first of these keys that has a value."""
        for key in keys:
            value = self.values.get(key)
            if value is not None:
                return self._whole(key, value)
        return None

    def whole_or_list(self, *keys: str) -> int | tuple[int, ...] | None:
        """Return one whole number, or one for each layer, of the first of these keys that has a value."""
        for key in keys:
            value = self.values.get(key)
            if isinstance(value, list):
                return tuple(self._whole(key, item) for item in self._bounded(key, value))
            if value is not None:
                return self._whole(key, value)
        return None

    def largest(self, *keys: str) -> int | None:
        """Return a whole number; of a list with one for each layer the largest, as engines do."""
        value = self.whole_or_list(*keys)
        return max(value, default=None) if isinstance(value, tuple) else value

    def number(self, key: str) -> float | None:
        """Return a finite number."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.wrong(key, "not a finite number")
        return number

    def flag(self, key: str) -> bool | None:
        """Return true or false."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "neither true nor false")
        return value

    def text(self, key: str) -> str | None:
        """Return a text fit for a terminal; an empty one is None."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "not a text")
        return shown(value) if value else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; absent and null are empty."""
        value = self.values.get(key)
        if value is None:
            return ()
        items = self._bounded(key, value) if isinstance(value, list) else [value]
        texts = tuple(shown(item) for item in items if isinstance(item, str))
        if not isinstance(value, list) or len(texts) != len(items):
            raise self.wrong(key, "not a list of texts")
        return texts

    def section(self, key: str) -> Document | None:
        """Return an object inside this one; an empty one is None."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "not an object")
        return Document(self.file, value, f"{self.path}{key}.") if value else None

    def nested(self) -> Iterator[Document]:
        """Return the objects directly inside this one."""
        for key, value in self.values.items():
            if isinstance(value, dict):
                yield Document(self.file, value, f"{self.path}{key}.")

    def items(self, key: str) -> tuple[Document, ...]:
        """Return a list of objects; absent and null are empty."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(key, "not a list of objects")
        return tuple(
            Document(self.file, item, f"{self.path}{key}.{index}.")
            for index, item in enumerate(self._bounded(key, value))
            if isinstance(item, dict)
        )

    def wrong(self, key: str, why: str) -> ModelCorruptError:
        """Return the error for a value that cannot be."""
        value = json.dumps(self.values.get(key))
        return ModelCorruptError(self.file, f"key {shown(self.path + key)} is {shown(value)}, {why}", _REPAIR)

    def _whole(self, key: str, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "not a whole number")
        if not 0 <= value <= MAX_NUMBER:
            raise self.wrong(key, f"not between 0 and {MAX_NUMBER}")
        return value

    def _bounded(self, key: str, value: list[object]) -> list[object]:
        if len(value) > MAX_ITEMS:
            raise ModelCorruptError(
                self.file, f"key {shown(self.path + key)} has {len(value)} values, {MAX_ITEMS} is the most", _REPAIR
            )
        return value


def read_document(folder: Folder, name: str) -> Document:
    """Return a JSON object of the folder."""
    name, content = read_whole(folder, name, MAX_DOCUMENT_BYTES)
    value = parsed(name, content)
    if not isinstance(value, dict):
        raise ModelCorruptError(name, "it is not a JSON object", _REPAIR, offset=0)
    return Document(name, value)


def find_document(folder: Folder, name: str) -> Document | None:
    """Return a JSON object of the folder, or None where there is no such file."""
    return read_document(folder, name) if name in folder.files() else None


def read_json(folder: Folder, name: str) -> object:
    """Return what a JSON file of the folder says."""
    return parsed(*read_whole(folder, name, MAX_DOCUMENT_BYTES))


def read_whole(folder: Folder, name: str, most: int) -> tuple[str, bytes]:
    """Return all of a small file, and its name for errors, from the model's own folder on."""
    with folder.open(name) as source:
        if source.size > most:
            raise ModelCorruptError(
                source.name, f"it has {source.size} bytes, more than the {most} that are read", "check what file it is"
            )
        content = source.read(0, source.size)
        if len(content) < source.size:
            raise ModelIncompleteError(source.name, "it ends early", "repeat the download", offset=len(content))
        return source.name, content


def parsed(name: str, content: bytes) -> object:
    """Return what a JSON text says; NaN and Infinity are numbers in it, as some model files have it."""
    if content.startswith(b"version https://git-lfs"):
        raise ModelIncompleteError(name, "it is a Git LFS pointer, not the file", "run git lfs pull")
    try:
        value: object = json.loads(content)
    except json.JSONDecodeError as error:
        offset = len(error.doc[: error.pos].encode(errors="surrogatepass"))
        raise ModelCorruptError(name, f"it is not JSON: {error.msg}", _REPAIR, offset=offset) from error
    except UnicodeDecodeError as error:
        raise ModelCorruptError(name, "it is not UTF-8", _REPAIR, offset=error.start) from error
    except ValueError as error:  # a whole number of more digits than Python converts
        raise ModelCorruptError(name, "a number in it has too many digits", _REPAIR) from error
    except RecursionError as error:
        raise ModelCorruptError(name, "it is nested too deep", _REPAIR) from error
    return value
