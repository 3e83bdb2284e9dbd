"""What can be wrong with the store.

StoreError
├── NotInitialisedError    there is no cluster in this database yet
├── DatabaseTooNewError    a newer Motorpool wrote it
├── DataDirInUseError      another controller holds the data directory
├── DatabaseInUseError     another controller serves from the database
├── DatabaseLostError      the connection to the database is gone
│   └── OutcomeUnknownError    … while it committed
├── StoreBusyError         more waits already than may wait
├── FencedError            another controller has taken the database over
└── ResignedError          the controller stops, and has left the database to others
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


class DatabaseInUseError(StoreError):
    """Another controller serves from this database."""


class DatabaseLostError(StoreError):
    """The connection to the database is gone; nothing is written until there is one again."""


class OutcomeUnknownError(DatabaseLostError):
    """The connection went while a batch was being committed: unlike other faults, it may have been written."""


class StoreBusyError(StoreError):
    """More waits already than may wait; the same call may be made again."""


class FencedError(StoreError):
    """Another controller has taken the database over; this one writes nothing any more."""


class ResignedError(StoreError):
    """The controller stops, and has left the database to others; nothing of what was asked was written."""

    def __init__(self) -> None:
        super().__init__("the controller is stopping; nothing was changed, make the same call again")
