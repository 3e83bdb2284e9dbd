"""Typed access to a header's values: absent is None, the wrong type is an error that names the key and its byte."""

from typing import TypeAlias

from motorpool_formats.errors import ModelCorruptError, shown
from motorpool_formats.gguf import Header, Skipped, Value

MAX_NUMBER = (1 << 31) - 1
"""llama.cpp reads these numbers into 32 bits and counts on with signed ones; so do our messages."""

PerLayer: TypeAlias = int | tuple[int, ...] | None
"""One number for all layers, or one for each."""


class Keys:
    """The values of one header. Keys without a group are those of the header's architecture."""

    def __init__(self, header: Header) -> None:
        self.file = header.name
        self._values = header.values
        self._offsets = header.offsets
        self.architecture = self.general_text("architecture")

    def general_text(self, key: str) -> str | None:
        """Return a text of the ``general`` group."""
        value = self._values.get(f"general.{key}")
        if value is None or value == "" or isinstance(value, Skipped):
            return None
        if not isinstance(value, str):
            raise self._wrong(f"general.{key}", f"is {value}, not a text")
        return shown(value)

    def general_number(self, key: str) -> int | None:
        """Return a number of the ``general`` group; 0 is a number there."""
        return self._whole(f"general.{key}")

    def has(self, prefix: str) -> bool:
        """Return whether the architecture has a key that begins so."""
        return any(key.startswith(self._own(prefix)) for key in self._values)

    def number(self, key: str) -> int | None:
        """Return a number; 0 stands for none."""
        return self._whole(self._own(key)) or None

    def number_or_zero(self, key: str) -> int | None:
        """Return a number of which 0 is one; None where the key is absent."""
        return self._whole(self._own(key))

    def greatest(self, key: str) -> int | None:
        """Return a number, or the greatest of a list; 0 stands for none."""
        numbers = self.numbers(key)
        return max(numbers, default=0) or None if isinstance(numbers, tuple) else numbers or None

    def per_layer(self, key: str, layers: int | None) -> PerLayer:
        """Return a number for all layers, or one for each."""
        numbers = self.numbers(key)
        if isinstance(numbers, tuple) and len(numbers) != layers:
            raise self.wrong(key, f"has {len(numbers)} values for {layers} layers")
        return numbers

    def numbers(self, key: str) -> PerLayer:
        """Return a number or a list of them."""
        own = self._own(key)
        value = self._values.get(own)
        return tuple(self._in_range(own, item) for item in value) if isinstance(value, tuple) else self._whole(own)

    def tokens(self) -> int | None:
        """Return how many tokens the tokenizer lists."""
        tokens = self._values.get("tokenizer.ggml.tokens")
        return (tokens.count or None) if isinstance(tokens, Skipped) else None

    def has_tokenizer(self) -> bool:
        """Return whether the file brings a tokenizer."""
        return "tokenizer.ggml.model" in self._values

    def has_chat_template(self) -> bool:
        """Return whether the file brings a template, or several with names."""
        return any(key.startswith("tokenizer.chat_template") for key in self._values)

    def wrong(self, key: str, what: str) -> ModelCorruptError:
        """Return the error for a value of the architecture's group."""
        return self._wrong(self._own(key), what)

    def _own(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _whole(self, key: str) -> int | None:
        value = self._values.get(key)
        if value is None:
            return None
        if type(value) is not int:  # a bool is no number here
            raise self._wrong(key, f"is {_told(value)}, not a whole number")
        return self._in_range(key, value)

    def _in_range(self, key: str, value: int) -> int:
        if not 0 <= value <= MAX_NUMBER:
            raise self._wrong(key, f"is {value}, not between 0 and {MAX_NUMBER}")
        return value

    def _wrong(self, key: str, what: str) -> ModelCorruptError:
        return ModelCorruptError(
            self.file, f"key {shown(key)} {what}", "download or convert the model again", offset=self._offsets.get(key)
        )


def _told(value: Value) -> str:
    if isinstance(value, Skipped):
        return f"{value.count} times {value.kind}"
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    return shown(str(value))
