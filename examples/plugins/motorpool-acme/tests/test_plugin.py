"""The SDK's contract against libacme, built with gcc, and what is ours beyond it."""

import subprocess
from pathlib import Path

import pytest
from motorpool_acme import Acme, library

from motorpool_sdk import Health
from motorpool_sdk.testing import AcceleratorContract

SOURCE = Path(__file__).parents[1] / "libacme" / "acme.c"
CARDS = "card ACME-1 Acme-One 34359738368 1073741824 37 61\ncard ACME-2 Acme-One 34359738368 - - 96\n"


@pytest.fixture(autouse=True)
def _driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's library, and two cards for it."""
    built = tmp_path / library.NAME
    subprocess.run(["/usr/bin/env", "gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", built, SOURCE], check=True)
    (tmp_path / "cards").write_text(CARDS)
    monkeypatch.setenv("ACME_CARDS", str(tmp_path / "cards"))
    # An agent puts the manifest's library_paths before LD_LIBRARY_PATH; here the name alone is enough.
    monkeypatch.setattr(library, "NAME", str(built))
    library.load.cache_clear()


class TestContract(AcceleratorContract):
    """What every accelerator plugin must hold to."""

    package = "motorpool_acme"


def test_an_unknown_figure_is_none() -> None:
    """What the driver does not know is None, never zero."""
    first, second = Acme().sample(["ACME-1", "ACME-2"])

    assert (first.used_bytes, first.utilization_ratio, first.temperature_celsius) == (1073741824, 0.37, 61)
    assert (second.used_bytes, second.utilization_ratio) == (None, None)


def test_a_hot_card_is_unhealthy() -> None:
    """A card that is too hot is unhealthy, and says so."""
    health = Acme().health(["ACME-1", "ACME-2"])

    assert health["ACME-1"] == (Health.HEALTHY, ())
    assert health["ACME-2"] == (Health.UNHEALTHY, ("96 °C is too hot; look at its fan",))


def test_a_driver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing call names the library and what to look at."""
    monkeypatch.delenv("ACME_CARDS")

    with pytest.raises(OSError, match=r"acme_count of .*libacme.so.1 failed with -19"):
        Acme().fingerprint()
