"""What can be wrong with a model file.

FormatError
├── ModelNotFoundError        MODEL_NOT_FOUND        nothing there
├── ModelUnreadableError      MODEL_UNREADABLE       there, but the operating system says no
├── ModelFormatUnknownError   MODEL_FORMAT_UNKNOWN   readable, but of no format or version known here
├── ModelCorruptError         MODEL_CORRUPT          the bytes contradict the format
└── ModelIncompleteError      MODEL_INCOMPLETE       well formed as far as it goes: a part of it is missing
"""

from typing import ClassVar

SHOWN_CHARACTERS = 80
SHOWN_PATH_CHARACTERS = 4_096


class FormatError(Exception):
    """A model file that cannot be turned into facts: which, what, at which byte, and what to do about it."""

    reason: ClassVar[str]

    def __init__(self, file: str, what: str, todo: str, *, offset: int | None = None) -> None:
        self.file = file
        self.what = what
        self.todo = todo
        self.offset = offset
        at = "" if offset is None else f" (at byte {offset})"
        super().__init__(f"{shown(file, SHOWN_PATH_CHARACTERS)}: {what}{at}; {todo}")


class ModelNotFoundError(FormatError):
    """There is no such file."""

    reason = "MODEL_NOT_FOUND"


class ModelUnreadableError(FormatError):
    """The file exists and the operating system does not let us read it."""

    reason = "MODEL_UNREADABLE"


class ModelFormatUnknownError(FormatError):
    """The file can be read, but is of no format, version or tensor type known here."""

    reason = "MODEL_FORMAT_UNKNOWN"


class ModelCorruptError(FormatError):
    """The bytes contradict the format; no further download will make them right."""

    reason = "MODEL_CORRUPT"


class ModelIncompleteError(FormatError):
    """The file, or one of its parts, ends before the model does."""

    reason = "MODEL_INCOMPLETE"


class OverridesError(FormatError):
    """What a user wants changed in a model's config.json cannot be read."""

    reason = "OVERRIDES_INVALID"


def shown(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """Return text from a stranger's file fit for a terminal: no control characters, and not endless."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
