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


def test_names_that_no_file_can_have_are_passed_over() -> None:
    """
    A listing is a stranger's: hidden files, climbing names and control characters are not shown.
    """
    names = ["model.gguf", ".gitattributes", "../up", "a/../../b", "/etc/x", "a//b", "x\ny", "sub/.hidden", "sub/ok"]

    folder = RemoteFolder("r", dict.fromkeys(names, 1), lambda *_: b"")

    assert {"model.gguf": 1, "sub/ok": 1} == folder.files()
