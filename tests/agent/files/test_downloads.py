"""Downloads from a hub on loopback, in the child process that agents use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from motorpool_agent.files.downloads import Downloads
from motorpool_agent.files.hubs import Hubs
from motorpool_agent.files.store import FileStore
from motorpool_agent.reconcile.assignment import Download, HubFile, ModelSource
from motorpool_agent.reconcile.observation import FilesState
from motorpool_agent.state.errors import ModelFilesError
from tests.hub.contents import Content, Repository
from tests.hub.server import STEP, LocalHub

DEADLINE_SECONDS = 30
WEIGHTS = bytes(range(256)) * 4096
OTHER = WEIGHTS[::-1]
LARGE = Content(b"a model", 24 << 20)


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with LocalHub() as hub:
        hub.add("acme/m", {"model.safetensors": WEIGHTS, "config.json": b"{}", "deep/er/tokens.json": b"[1]"})
        yield hub


def download_of(hub: LocalHub, name: str = "acme/m", *, scope: bool = False, **files: object) -> Download:
    """What a controller tells of the newest commit."""
    repository: Repository = hub.repositories[name]
    commit = repository.branches["master"]
    listed = tuple(
        HubFile(path=path, size_bytes=content.size, **_digests(content, scope=scope))
        for path, content in sorted(repository.commits[commit].items())
    )
    kind = "model_scope" if scope else "hugging_face"
    source = ModelSource(kind=kind, repository=name, revision="" if scope else commit)
    return Download(source=source, commit=commit, files=listed, **files)


def _digests(content: Content, *, scope: bool) -> dict[str, str]:
    return {"sha256": content.sha256} if content.large or scope else {"git_sha1": content.git_sha1}


Make = Callable[..., Downloads]


@pytest_asyncio.fixture(name="make")
async def _make(hub: LocalHub, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Downloads] = []

    def make(*, reserved_bytes: int = 0, token: str = "", folder: str = "models", **environment: str) -> Downloads:
        told = {"HF_ENDPOINT": hub.endpoint, "MODELSCOPE_ENDPOINT": hub.endpoint, "HF_TOKEN": token, **environment}
        hubs = Hubs(environment=told)
        made.append(Downloads(FileStore(tmp_path / folder), hubs, reserved_bytes=reserved_bytes, notify=lambda: None))
        return made[-1]

    yield make
    for downloads in made:
        await downloads.close()


def silent(message: str, done_bytes: int, total_bytes: int) -> None:
    """Hear of progress."""


def child_of_this() -> list[psutil.Process]:
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if each.status() != psutil.STATUS_ZOMBIE and "motorpool_agent.files.child" in each.cmdline()
    ]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  # what another process does
            await asyncio.sleep(0.01)


def part_of(tmp_path: Path) -> int:
    sizes = [0]
    for path in (tmp_path / "models" / "content").glob("*.part"):
        with contextlib.suppress(FileNotFoundError):  # it is whole, and has its name by now
            sizes.append(path.stat().st_size)
    return max(sizes)


def ranges_of(hub: LocalHub, file: str) -> list[str]:
    return [each.headers.get("range", "") for each in hub.seen if each.path.endswith(file)]


@pytest.mark.parametrize("scope", [False, True], ids=["hugging_face", "model_scope"])
async def test_a_model_is_fetched_whole_and_needs_no_hub_again(hub: LocalHub, make: Make, *, scope: bool) -> None:
    """
    Its files stand in one folder, at their paths; a second wish for it, by a later agent, asks nobody.
    """
    first = make()
    folder = await first.fetch(download_of(hub, scope=scope), silent)
    await first.close()
    asked = len(hub.seen)
    again = await make().fetch(download_of(hub, scope=scope), silent)

    assert folder == again
    assert WEIGHTS == (folder / "model.safetensors").read_bytes()
    assert b"[1]" == (folder / "deep/er/tokens.json").read_bytes()
    assert asked == len(hub.seen)
    assert [FilesState.COMPLETE] == [each.state for each in first.known.values()]


async def test_progress_is_told_in_bytes(hub: LocalHub, make: Make) -> None:
    """
    Who waits hears how many of how many bytes are there.
    """
    held = threading.Event()
    hub.trouble("GET .*safetensors", hold=8 * STEP, until=held)
    heard: list[tuple[str, int, int]] = []
    download = download_of(hub)
    fetching = asyncio.create_task(make().fetch(download, lambda *told: heard.append(told)))
    await until(lambda: any(done >= 8 * STEP for _, done, _ in heard))
    held.set()
    await fetching

    assert {"downloading acme/m"} == {message for message, _, _ in heard}
    assert {download.total_bytes} == {total for _, _, total in heard}
    assert sorted(done for _, done, _ in heard) == [done for _, done, _ in heard]


async def test_a_killed_download_goes_on_where_it_was(hub: LocalHub, make: Make, tmp_path: Path) -> None:
    """
    The child is killed in the middle; what it had is not asked for again.
    """
    held = threading.Event()
    hub.trouble("GET .*safetensors", hold=8 * STEP, until=held)
    downloads = make()
    fetching = asyncio.create_task(downloads.fetch(download_of(hub), silent))
    await until(lambda: part_of(tmp_path) >= 8 * STEP)
    [child] = child_of_this()
    child.kill()
    with pytest.raises(ModelFilesError, match="ended with status -9"):
        await fetching
    had = part_of(tmp_path)
    held.set()
    [partial] = downloads.known.values()
    folder = await downloads.fetch(download_of(hub), silent)

    assert FilesState.PARTIAL == partial.state
    assert had <= partial.done_bytes < partial.total_bytes
    assert ["", f"bytes={had}-"] == ranges_of(hub, "model.safetensors")
    assert WEIGHTS == (folder / "model.safetensors").read_bytes()


async def test_half_a_model_is_never_called_complete(hub: LocalHub, make: Make, tmp_path: Path) -> None:
    """
    Without its record, or with a file that was cut or taken away since, a model is fetched again, and no more of it.
    """
    downloads = make()
    download = download_of(hub)
    folder = await downloads.fetch(download, silent)
    (tmp_path / "models" / "records" / f"{download.files_id}.json").unlink()
    await downloads.fetch(download, silent)
    (folder / "config.json").unlink()
    await downloads.fetch(download, silent)
    weights = folder / "model.safetensors"
    weights.chmod(0o644)
    with weights.open("r+b") as file:
        file.truncate(100)
    await downloads.fetch(download, silent)

    assert WEIGHTS == weights.read_bytes()
    assert 2 == len(ranges_of(hub, "model.safetensors"))
    assert 1 == len(ranges_of(hub, "config.json"))


async def test_what_comes_damaged_is_fetched_once_more(hub: LocalHub, make: Make) -> None:
    """
    Another digest than the hub told: the file is asked for again from its beginning.
    """
    hub.trouble("GET .*safetensors", spoil=True)
    folder = await make().fetch(download_of(hub), silent)

    assert ["", ""] == ranges_of(hub, "model.safetensors")
    assert WEIGHTS == (folder / "model.safetensors").read_bytes()


async def test_what_comes_damaged_twice_is_refused(hub: LocalHub, make: Make) -> None:
    """
    Then it is said which file it is, and what may lie between; nothing of it counts as there.
    """
    hub.trouble("GET .*safetensors", spoil=True, times=-1)
    downloads = make()
    with pytest.raises(ModelFilesError, match=r"model\.safetensors came twice with another digest") as failed:
        await downloads.fetch(download_of(hub), silent)

    assert "DIGEST_MISMATCH" == failed.value.reason
    assert [FilesState.PARTIAL] == [each.state for each in downloads.known.values()]


async def test_an_answer_that_breaks_off_is_gone_on_with(hub: LocalHub, make: Make) -> None:
    """
    The connection ends early: the rest alone is asked for.
    """
    hub.trouble("GET .*safetensors", cut=300_000)
    folder = await make().fetch(download_of(hub), silent)

    assert ["", "bytes=300000-"] == ranges_of(hub, "model.safetensors")
    assert WEIGHTS == (folder / "model.safetensors").read_bytes()


async def test_a_hub_without_ranges_sends_all_again(hub: LocalHub, make: Make) -> None:
    """
    Asked for the rest, it sends the whole: that is taken from its beginning, and not behind what was there.
    """
    hub.trouble("GET .*safetensors", cut=300_000)
    hub.trouble("GET .*safetensors", whole=True)
    folder = await make().fetch(download_of(hub), silent)

    assert WEIGHTS == (folder / "model.safetensors").read_bytes()


async def test_several_who_want_it_share_one_download(hub: LocalHub, make: Make) -> None:
    """
    Two instances and a later one wait for the same child; each gets the folder.
    """
    held = threading.Event()
    hub.trouble("GET .*safetensors", hold=4 * STEP, until=held)
    downloads = make()
    fetching = [asyncio.create_task(downloads.fetch(download_of(hub), silent)) for _ in range(2)]
    await until(child_of_this)
    fetching.append(asyncio.create_task(downloads.fetch(download_of(hub), silent)))
    children = child_of_this()
    held.set()
    folders = await asyncio.gather(*fetching)

    assert 1 == len(set(folders))
    assert 1 == len(children)
    assert 1 == len(ranges_of(hub, "model.safetensors"))


async def test_the_last_who_leaves_ends_it(hub: LocalHub, make: Make, tmp_path: Path) -> None:
    """
    While one still waits it goes on; when nobody does, the child ends and what came stays.
    """
    held = threading.Event()
    hub.trouble("GET .*safetensors", hold=4 * STEP, until=held)
    downloads = make()
    one, other = (asyncio.create_task(downloads.fetch(download_of(hub), silent)) for _ in range(2))
    await until(lambda: part_of(tmp_path) >= 4 * STEP)
    one.cancel()
    await asyncio.wait({one})
    still = child_of_this()
    other.cancel()
    await asyncio.wait({other})
    had = part_of(tmp_path)
    held.set()

    assert 1 == len(still)
    assert [] == child_of_this()
    assert had >= 4 * STEP


async def test_content_that_models_have_in_common_is_there_once(hub: LocalHub, make: Make) -> None:
    """
    A second commit brings only what differs; deleting the first leaves the second whole.
    """
    downloads = make()
    first = download_of(hub)
    old = await downloads.fetch(first, silent)
    hub.add("acme/m", {"model.safetensors": WEIGHTS, "config.json": b"{ }"})
    new = await downloads.fetch(download_of(hub), silent)
    same = (old / "model.safetensors").samefile(new / "model.safetensors")
    freed = await downloads.delete(first.files_id, downloads.known[first.files_id].etag, list)

    assert same
    assert 1 == len(ranges_of(hub, "model.safetensors"))
    assert freed < len(WEIGHTS)
    assert WEIGHTS == (new / "model.safetensors").read_bytes()
    assert not old.exists()


async def test_a_disk_without_room_is_refused_with_figures(hub: LocalHub, make: Make) -> None:
    """
    Before a byte is asked for: what it needs, what is free, what stays so, and what to do.
    """
    with pytest.raises(
        ModelFilesError, match=r"needs 0\.00 GiB more .* are free.*reserved_disk.*are missing"
    ) as failed:
        await make(reserved_bytes=1 << 59).fetch(download_of(hub), silent)

    assert "DISK_FULL" == failed.value.reason
    assert [] == ranges_of(hub, "model.safetensors")


async def test_nothing_that_somebody_has_is_deleted(hub: LocalHub, make: Make) -> None:
    """
    Neither what an instance has, nor what is being fetched, nor what was fetched anew since it was looked at.
    """
    downloads = make()
    download = download_of(hub)
    await downloads.fetch(download, silent)
    etag = downloads.known[download.files_id].etag
    with pytest.raises(ModelFilesError, match="instances/chat-1 has it") as used:
        await downloads.delete(download.files_id, etag, lambda: ["instances/chat-1"])
    await downloads.delete(download.files_id, etag, list)
    gone = downloads.known
    held = threading.Event()
    hub.trouble("GET .*safetensors", hold=STEP, until=held)
    fetching = asyncio.create_task(downloads.fetch(download, silent))
    await until(child_of_this)
    with pytest.raises(ModelFilesError) as fetched:
        await downloads.delete(download.files_id, downloads.known[download.files_id].etag, list)
    held.set()
    await fetching
    with pytest.raises(ModelFilesError) as other:
        await downloads.delete(download.files_id, etag, list)

    assert ("FILES_IN_USE", "FILES_IN_USE", "ETAG_MISMATCH") == (
        used.value.reason,
        fetched.value.reason,
        other.value.reason,
    )
    assert {} == gone


async def test_a_token_goes_to_the_hub_alone_and_into_no_process_list(
    hub: LocalHub, make: Make, tmp_path: Path
) -> None:
    """
    The hub that redirects large files gets it, the other host not; neither arguments nor variables nor disk show it.
    """
    hub.add("acme/private", {"model.safetensors": LARGE}, tokens=frozenset({"hf_secret_token"}))
    held = threading.Event()
    hub.trouble("GET /[0-9a-f]{64}", hold=STEP, until=held)
    downloads = make(token="hf_secret_token")
    fetching = asyncio.create_task(downloads.fetch(download_of(hub, "acme/private"), silent))
    await until(lambda: part_of(tmp_path) >= STEP)
    [child] = child_of_this()
    shown = f"{child.cmdline()} {child.environ()}"
    held.set()
    await fetching

    assert "hf_secret_token" not in shown
    assert ["Bearer hf_secret_token"] == [each.headers.get("authorization") for each in hub.seen if not each.large]
    assert [None] == [each.headers.get("authorization") for each in hub.seen if each.large]


@pytest.mark.parametrize(
    ("token", "reason", "said"),
    [
        ("", "HUB_TOKEN_MISSING", "give the agent of this node a token by hf_token_file"),
        ("wrong", "HUB_TOKEN_INVALID", "is not enough"),
    ],
)
async def test_a_repository_that_wants_a_token_says_so(
    hub: LocalHub, make: Make, token: str, reason: str, said: str
) -> None:
    """
    Without a token, or with a wrong one, the message names the setting of this node.
    """
    hub.add("acme/private", {"model.safetensors": WEIGHTS}, tokens=frozenset({"right"}))
    with pytest.raises(ModelFilesError, match=said) as failed:
        await make(token=token).fetch(download_of(hub, "acme/private"), silent)

    assert reason == failed.value.reason


async def test_a_hub_that_is_not_there_is_named(hub: LocalHub, make: Make) -> None:
    """
    A refused answer is passed on with the host and the setting.
    """
    hub.trouble("GET .*safetensors", status=404, times=-1)
    with pytest.raises(ModelFilesError, match=r"127\.0\.0\.1:\d+ has it not .*hf_endpoint or HF_ENDPOINT") as failed:
        await make().fetch(download_of(hub), silent)

    assert "MODEL_NOT_FOUND" == failed.value.reason


async def test_an_agent_that_may_not_ask_runs_what_is_there(hub: LocalHub, make: Make) -> None:
    """
    HF_HUB_OFFLINE forbids downloads; what was fetched before is given all the same.
    """
    await make().fetch(download_of(hub), silent)
    with pytest.raises(ModelFilesError, match="HF_HUB_OFFLINE") as failed:
        await make(folder="others", HF_HUB_OFFLINE="1").fetch(download_of(hub), silent)

    assert "HUB_OFFLINE" == failed.value.reason


async def test_a_folder_that_cannot_be_used_costs_downloads_alone(hub: LocalHub, make: Make, tmp_path: Path) -> None:
    """
    The agent goes on; who wants a model is told which setting names the folder, until it can be used.
    """
    (tmp_path / "file").touch()
    downloads = make(folder="file")
    await downloads.open()
    with pytest.raises(ModelFilesError, match="model_dir"):
        await downloads.fetch(download_of(hub), silent)
    (tmp_path / "file").unlink()

    assert (await downloads.fetch(download_of(hub), silent)).is_dir()
