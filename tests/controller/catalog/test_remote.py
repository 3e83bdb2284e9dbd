import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.catalog.remote import RemoteFolder

SIZE = 1 << 20
BYTES = bytes(number * 37 % 251 for number in range(SIZE))

reads = st.lists(
    st.tuples(st.integers(-10, SIZE + 10), st.integers(0, SIZE) | st.integers(0, 4_000)), min_size=1, max_size=12
)


@given(reads=reads)
def test_reads_are_those_of_the_file(reads: list[tuple[int, int]]) -> None:
    """
    Whatever is read, in whatever order, is what stands there; only the end of the file makes it shorter.
    """
    folder = RemoteFolder("r", {"f": SIZE}, lambda name, offset, count: BYTES[offset : offset + count])

    with folder.open("f") as file:
        for offset, count in reads:
            expected = BYTES[offset : offset + count] if offset >= 0 else b""
            assert expected == file.read(offset, count)


@given(steps=st.lists(st.integers(1, 200_000), min_size=1, max_size=40))
def test_reading_on_fetches_at_most_three_times_as_much(steps: list[int]) -> None:
    """
    Who reads a header front to back has fetched no byte twice, and at most three times what was read, or one piece.
    """
    fetched: list[tuple[int, int]] = []

    def fetch(name: str, offset: int, count: int) -> bytes:
        fetched.append((offset, count))
        return BYTES[offset : offset + count]

    file = RemoteFolder("r", {"f": SIZE}, fetch).open("f")
    at = 0
    for step in steps:
        at += len(file.read(at, step))

    total = sum(count for _, count in fetched)
    assert [sum(count for _, count in fetched[:index]) for index in range(len(fetched))] == [
        offset for offset, _ in fetched
    ]
    assert total <= max(3 * at, 128 << 10)


@given(parts=st.integers(1, 30), sizes=st.integers(1, 300_000))
def test_parts_are_begun_ahead_and_read_whole(parts: int, sizes: int) -> None:
    """
    The beginnings of the parts that follow are fetched while one is read; each byte is what stands there, once.
    """
    fetched: list[tuple[str, int, int]] = []

    def fetch(name: str, offset: int, count: int) -> bytes:
        fetched.append((name, offset, count))
        return BYTES[offset : offset + count]

    names = [f"m-{number:05}-of-{parts:05}.safetensors" for number in range(1, parts + 1)]
    folder = RemoteFolder("r", {**dict.fromkeys(names, sizes), "m-00001-of-00099.safetensors": 5}, fetch)

    for name in names:
        with folder.open(name) as file:
            assert BYTES[:sizes] == file.read(0, 8) + file.read(8, sizes)

    assert parts * sizes == sum(count for _, _, count in fetched)
    assert set(names) == {name for name, _, _ in fetched}


def test_a_part_that_cannot_be_begun_fails_where_it_is_opened() -> None:
    """
    What goes wrong ahead is raised when that part is opened, and not before.
    """

    def fetch(name: str, offset: int, count: int) -> bytes:
        if name.startswith("m-00002"):
            raise ValueError("gone")
        return bytes(count)

    folder = RemoteFolder("r", {f"m-{number:05}-of-00002.gguf": 5 for number in (1, 2)}, fetch)

    assert bytes(5) == folder.open("m-00001-of-00002.gguf").read(0, 5)
    with pytest.raises(ValueError, match="gone"):
        folder.open("m-00002-of-00002.gguf")


def test_names_that_no_file_can_have_are_passed_over() -> None:
    """
    A listing is a stranger's: hidden files, climbing names and control characters are not shown.
    """
    names = ["model.gguf", ".gitattributes", "../up", "a/../../b", "/etc/x", "a//b", "x\ny", "sub/.hidden", "sub/ok"]

    folder = RemoteFolder("r", dict.fromkeys(names, 1), lambda *_: b"")

    assert {"model.gguf": 1, "sub/ok": 1} == folder.files()
