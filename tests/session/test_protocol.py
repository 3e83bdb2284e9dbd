"""The session protocol, driven through whatever may happen to it."""

from __future__ import annotations

import logging
import os
import random
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.session import template
from tests.session.rules import Fleet
from tests.session.world import DEVICES

STEPS = int(os.environ.get("MOTORPOOL_SESSION_STEPS", "3000"))
"""About so many are carried out in all, each example being of fifty at the most."""


@pytest.mark.promise("P1", "P2", "P3", "P4", "P7", "P8")
@pytest.mark.slow
@pytest.mark.timeout(60 + STEPS)
def test_fleet_keeps_its_promises(
    folder: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """
    P1 to P4, P7 and P8 hold after every step, whatever gets lost, comes twice or late, or is killed; and once all is
    mended, the fleet is as it is wished.
    """
    template.make(folder / "cluster", sorted(DEVICES))
    # Hypothesis seeds chance at each example; ids are chance, too.
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=random.getrandbits(128), version=4))

    class Here(Fleet):
        happened: ClassVar[Counter[str]] = Counter()

    Here.cluster, Here.folder = folder / "cluster", folder
    logging.disable(logging.CRITICAL)  # a failing example is told by its steps, and not by a thousand lines
    try:
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=max(1, STEPS // 40),
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    finally:
        logging.disable(logging.NOTSET)
        counts = ", ".join(f"{name} {count}" for name, count in Here.happened.most_common())
        record_property("steps", f"{Here.happened.total()} steps of {len(Here.happened)} kinds: {counts}")
