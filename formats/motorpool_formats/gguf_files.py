"""Which of a folder's files are a GGUF model, and reading them.

A repository holds one model in several quantisations, some of them in parts, and the projectors for pictures and
sound beside them.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from motorpool_formats.errors import FormatError, ModelIncompleteError, ModelNotFoundError, shown
from motorpool_formats.facts import PROJECTOR, Companion, ModelFacts
from motorpool_formats.gguf import Header, read_header
from motorpool_formats.gguf_bounds import Allowance
from motorpool_formats.gguf_model import model_facts
from motorpool_formats.projector import Projector, projector_of
from motorpool_formats.protocols import Folder
from motorpool_formats.shards import check_shards, shard_count, shard_names

SUFFIX = ".gguf"
PROJECTORS = "*mmproj*.gguf"
"""How projectors are called, whatever the case."""

LOWEST_FIRST = ("IQ1", "IQ2", "IQ3", "IQ4", "Q2", "Q3", "Q4", "Q5", "Q6", "Q8")
"""The order in which a file is taken where none is named (scheduling.md B15.2)."""

PRECISEST_FIRST = ("F32", "F16", "BF16", "Q8_0")
"""The order in which a projector is taken: of the 16-bit types the one with the longer fraction, which every device
computes in."""

MAX_PROJECTORS_READ = 4
SHOWN_NAMES = 5

_LEVEL = re.compile(rf"[-._/]({'|'.join(LOWEST_FIRST)})_")
_PRECISION = re.compile(rf"(?<![A-Z0-9])({'|'.join(PRECISEST_FIRST)})(?![A-Z0-9_])")


def is_gguf(name: str) -> bool:
    """Return whether a file of this name is to be GGUF."""
    return name.lower().endswith(SUFFIX)


def choose(folder: str, files: Mapping[str, int], pattern: str) -> str:
    """Return the file to run: the first that the pattern names, without one that of the lowest quantisation."""
    names = sorted(name for name in files if is_gguf(name))
    if pattern:
        named = [name for name in names if _matches(name, pattern)]
        if not named:
            raise ModelNotFoundError(
                folder, f"no GGUF file in it is called {shown(pattern)}", f"name one of them: {_listed(names)}"
            )
        return (_models(named) or named)[0]
    return min(_models(names) or names, key=lambda name: (_level(name), name))


def read_file(folder: Folder, name: str) -> ModelFacts:
    """Return the facts of one file, its other parts, and the projectors in the folder that were made for it.

    The folder may hold many models: what does not fit this one, or cannot be read, belongs to another.
    """
    allowance = Allowance()
    headers = _read_parts(folder, name, allowance)
    facts = model_facts(headers)
    if facts.categories == ("projector",):
        return facts
    found: list[Projector] = []
    for candidate in _projectors(folder.files(), name, PROJECTORS):
        with suppress(FormatError):
            projector = projector_of(_read(folder, candidate, allowance))
            if projector is not None and projector.width is not None and projector.width == facts.hidden_size:
                found.append(projector)
    return _with(facts, found)


def read_one_of(folder: Folder, files: Mapping[str, int], pattern: str, projector: str) -> ModelFacts:
    """Return the facts of a repository's model with the projectors that fit it, the most precise one first."""
    allowance = Allowance()
    name = choose(folder.name, files, pattern)
    facts = model_facts(_read_parts(folder, name, allowance))
    if facts.categories == ("projector",):
        return facts
    candidates = _projectors(files, name, projector or PROJECTORS)
    if projector and not candidates:
        raise ModelNotFoundError(
            folder.name,
            f"no projector in it is called {shown(projector)}",
            f"name one of them: {_listed(_projectors(files, name, PROJECTORS))}",
        )
    found: list[Projector] = []
    fitting: list[Projector] = []
    for candidate in candidates:
        try:
            read = projector_of(_read(folder, candidate, allowance))
        except FormatError:
            if fitting:  # it is one that somebody might name, and not the one that is loaded
                continue
            raise
        if read is not None:
            found.append(read)
            fitting += [read] if read.fits(facts.hidden_size) else []
    # Old projectors tell another width and work: where none fits, the most precise is still the one to load.
    return _with(facts, fitting or found)


def _read_parts(folder: Folder, name: str, allowance: Allowance) -> Sequence[Header]:
    header = _read(folder, name, allowance)
    count = shard_count(header)
    if count == 1:
        return [header]
    names, files = shard_names(name, count), folder.files()
    missing = [part for part in names if part not in files]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelIncompleteError(
            missing[0], f"this part{more} of {count} is missing", "download all parts into one folder"
        )
    headers = [header if part == name else _read(folder, part, allowance) for part in names]
    check_shards(headers)
    return headers


def _read(folder: Folder, name: str, allowance: Allowance) -> Header:
    with folder.open(name) as source:
        return read_header(source, allowance)


def _with(facts: ModelFacts, projectors: Sequence[Projector]) -> ModelFacts:
    """Return the facts with projectors as companions; the first is the one that is loaded."""
    if not projectors:
        return facts
    return replace(
        facts,
        vision_heads=projectors[0].vision_heads,
        audio_heads=projectors[0].audio_heads,
        companions=tuple(
            Companion(
                kind=PROJECTOR,
                file=projector.file,
                file_bytes=projector.file_bytes,
                weight_bytes=projector.weight_bytes,
                heads=projector.vision_heads if projector.vision_heads is not None else projector.audio_heads,
            )
            for projector in projectors
        ),
    )


def _projectors(files: Mapping[str, int], model: str, pattern: str) -> Sequence[str]:
    """Return the projectors to try, first those beside the model, and of these the most precise."""
    beside = PurePosixPath(model).parent
    matches = _is_projector if pattern == PROJECTORS else lambda name: _matches(name, pattern)
    named = [name for name in files if is_gguf(name) and name != model and matches(name)]
    named.sort(key=lambda name: (PurePosixPath(name).parent != beside, _precision(name), name))
    return named[:MAX_PROJECTORS_READ]


def _models(names: Sequence[str]) -> Sequence[str]:
    return [name for name in names if not (_is_projector(name) or "imatrix" in name.lower())]


def _is_projector(name: str) -> bool:
    return _matches(name.lower(), PROJECTORS)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(PurePosixPath(name).name, pattern)


def _level(name: str) -> int:
    found = _LEVEL.search(name.upper())
    return LOWEST_FIRST.index(found[1]) if found else len(LOWEST_FIRST)


def _precision(name: str) -> int:
    found = _PRECISION.search(PurePosixPath(name).name.upper())
    return PRECISEST_FIRST.index(found[1]) if found else len(PRECISEST_FIRST)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return (", ".join(shown(name) for name in names[:SHOWN_NAMES]) or "there is none") + more
