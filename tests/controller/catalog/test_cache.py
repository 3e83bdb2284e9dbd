from pathlib import Path

import pytest

from motorpool_controller.catalog import cache as caching
from motorpool_controller.catalog.cache import Entry, FactsCache, Key
from tests.models.facts import EVERYTHING

KEY = Key(hub="hugging_face", endpoint="https://hub.example", repository="o/n", commit="c" * 40)
ENTRY = Entry(facts=EVERYTHING)


def test_what_was_kept_outlives_the_controller(tmp_path: Path) -> None:
    """
    Facts come back whole, field for field, from a new cache over the same folder.
    """
    FactsCache(tmp_path).put(KEY, ENTRY)

    assert ENTRY == FactsCache(tmp_path).get(KEY)
    assert FactsCache(tmp_path).get(Key(hub="x", endpoint="", repository="o/n")) is None


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "bytes"])
def test_damaged_file_is_a_miss(tmp_path: Path, damage: str) -> None:
    """
    A file that was cut, changed or is another's is as good as not there, and goes.
    """
    FactsCache(tmp_path).put(KEY, ENTRY)
    (path,) = tmp_path.glob("*.json")
    written = path.read_bytes()
    at = written.index(b'"weight_bytes":') + len(b'"weight_bytes":')
    path.write_bytes(
        {
            "cut": written[:-20],
            "bit": written[:at] + b"9" + written[at:],
            "empty": b"",
            "other": written.replace(b"o/n", b"o/m"),
            "bytes": bytes(range(256)) * 100,
        }[damage]
    )

    assert FactsCache(tmp_path).get(KEY) is None
    assert not path.exists()


def test_other_readers_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What other readers found is read anew: they may have said less of the same bytes.
    """
    FactsCache(tmp_path).put(KEY, ENTRY)
    monkeypatch.setattr(caching, "READERS", "9.9.9/1")

    assert FactsCache(tmp_path).get(KEY) is None


def test_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The oldest go when there are too many, in memory and on disk.
    """
    monkeypatch.setattr(caching, "KEPT_IN_MEMORY", 3)
    monkeypatch.setattr(caching, "KEPT_ON_DISK", 5)
    cache = FactsCache(tmp_path)
    keys = [Key(hub="h", endpoint="e", repository=f"o/{number}", commit="c") for number in range(9)]

    for key in keys:
        cache.put(key, ENTRY)

    assert 5 == len(list(tmp_path.iterdir()))
    assert 3 == len(cache._memory)
    assert ENTRY == cache.get(keys[-1])


def test_folder_that_takes_nothing(tmp_path: Path) -> None:
    """
    Where nothing can be written, memory serves.
    """
    (tmp_path / "file").write_text("in the way")
    cache = FactsCache(tmp_path / "file" / "catalog")

    cache.put(KEY, ENTRY)

    assert ENTRY == cache.get(KEY)
