"""References of container images: ``vllm/vllm-openai:v0.11.0``, ``registry.example:5000/team/server@sha256:…``."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 512

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def image_fault(text: str) -> str:
    """Return what is wrong with a reference, and what to write instead; nothing if an engine could take it."""
    if len(text) > MAX_CHARACTERS:
        return f"it has more than {MAX_CHARACTERS} characters"
    if "://" in text:
        return "leave out what stands before the registry's name, up to ://"
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        return "after @ comes sha256: and 64 hexadecimal digits, in lower case"
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        return "after the name's : comes a tag, of at most 128 letters, digits and . _ -"
    if not _NAME.fullmatch(f"{head}{slash}{last}"):
        return "write [REGISTRY[:PORT]/]NAME[:TAG][@sha256:…], the name in lower case, e.g. vllm/vllm-openai:v0.11.0"
    return ""
