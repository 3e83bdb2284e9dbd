"""What can be wrong with the store.

StoreError
├── NotInitialisedError    there is no cluster in this database yet
├── DatabaseTooNewError    a newer Motorpool wrote it
├── DataDirInUseError      another controller holds the data directory
└── FencedError            another controller has taken the database over
"""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked; nothing of it was written."""


class NotInitialisedError(StoreError):
    """There is no cluster in this database yet."""


class DatabaseTooNewError(StoreError):
    """A newer Motorpool wrote this database."""


class DataDirInUseError(StoreError):
    """Another controller holds the data directory."""


class FencedError(StoreError):
    """Another controller has taken the database over; this one writes nothing any more."""
