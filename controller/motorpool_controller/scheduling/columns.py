"""The fleet as columns of numbers, kept up change by change: what a decision reads and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from motorpool_controller.domain.fleet import Node, NodeUsage
from motorpool_controller.domain.placement import Placement
from motorpool_controller.domain.workload import Instance
from motorpool_controller.scheduling.allocatable import Ledger, is_loaded, unified_of
from motorpool_controller.scheduling.banks import Bank, Bytes, Numbers, Seat, Shape, shapes_of
from motorpool_controller.scheduling.classes import Likeness, class_of
from motorpool_controller.scheduling.seen import Differing, Seen
from motorpool_controller.scheduling.snapshot import Reading, Snapshot, Touched

MOST_TALLIES = 16

Codes = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Tally:
    """How many instances of one deployment each node and device has; a matrix is there where a device has any."""

    nodes: Numbers
    devices: dict[Shape, Numbers]


@dataclass(slots=True, eq=False)
class _Answers:
    """Which of the distinct answers about a path each node gave, by slot; the first is none."""

    codes: Codes
    distinct: list[Reading] = field(default_factory=lambda: [Reading()])
    ids: dict[Reading, int] = field(default_factory=lambda: {Reading(): 0})
    given: int = 0
    """How many nodes gave one."""

    def code_of(self, reading: Reading) -> int:
        """Return an answer's place among the distinct ones."""
        code = self.ids.setdefault(reading, len(self.ids))
        if code == len(self.distinct):
            self.distinct.append(reading)
        return code


class Columns:
    """Nodes by slot, devices by bank; claims in the ledger. Only ``follow`` and its parts change what it stands for."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.seats: dict[str, Seat] = {}
        self.banks: dict[Shape, Bank] = {}
        self.revision = 0
        """Counts changes of nodes and readings; claims and measurements are none."""
        self.state = 0
        """Another number whenever ``follow`` found anything by which a decision may be another."""
        self.classes: list[Node] = []
        """One node of each class: to filters, those of a class are the same."""
        self.likeness = Likeness()
        self.memo: dict[int, tuple[object, object, object]] = {}
        self._class_ids: dict[object, int] = {}
        self._free_slots: list[int] = []
        self._names: list[str] = []
        self._host: Bytes = np.full(8, -1, np.int64)
        self._busy: Numbers = np.zeros(8, np.float64)
        self._class: Codes = np.full(8, -1, np.int64)
        self._rank: Codes = np.zeros(8, np.int64)
        self._ranked = False
        self._labels: dict[tuple[str, str], set[int]] = {}
        self._answers: dict[str, _Answers] = {}
        self._tallies: dict[str, Tally] = {}
        self._seen = Seen()

    @classmethod
    def of(cls, snapshot: Snapshot) -> Columns:
        """Return a snapshot's columns."""
        columns = cls()
        columns.follow(snapshot)
        return columns

    @property
    def host(self) -> Bytes:
        """Bytes left of host memory by slot; -1 where unknown."""
        return self._host

    @property
    def busy(self) -> Numbers:
        """How many instances there are, by slot."""
        return self._busy

    @property
    def class_of(self) -> Codes:
        """Index into ``classes`` by slot; -1 where there is no node."""
        return self._class

    @property
    def rank(self) -> Codes:
        """Place of a node's name among all names, by slot."""
        if not self._ranked:
            for rank, name in enumerate(sorted(self.seats)):
                self._rank[self.seats[name].slot] = rank
            self._ranked = True
        return self._rank

    def labelled(self, labels: Mapping[str, str]) -> Codes:
        """Return the slots of the nodes that have all of these labels."""
        found = [self._labels.get(label, set()) for label in labels.items()]
        return np.array(sorted(set.intersection(*sorted(found, key=len))), np.int64)

    def name_at(self, slot: int) -> str:
        """Return the full name of the node in a slot."""
        return self._names[slot]

    def follow(self, snapshot: Snapshot, touched: Touched | None = None) -> None:
        """Take over what differs between a snapshot and the one before: all of it, or what is among ``touched``."""
        differing = self._seen.differing(snapshot, touched)
        if self._seen.is_empty:
            self._fill(snapshot, differing)
            return
        moved = [pair for pair in differing.instances if _standing(pair[0]) != _standing(pair[1])]
        for instance, _ in moved:
            if instance is not None:
                self.leave(instance)
        new = {node.name for _, node in differing.nodes if node is not None and node.name not in self.seats}
        for old, node in differing.nodes:
            if node is not None:
                self.know(node)
            elif old is not None:
                self.forget(old.name)
        for name, usage in differing.usage:
            self.measure(name, usage)
        for _, instance in moved:
            if instance is not None:
                self.stand(instance)
        for key, reading in differing.readings:
            self.read(*key, reading or Reading())
        for key, reading in snapshot.readings.items() if new else ():
            if key[0] in new:
                self.read(*key, reading)
        if differing.rules:
            self.revision += 1
            self._hub_models = dict(snapshot.hub_models)
        if moved or differing.nodes or differing.usage or differing.readings or differing.rules:
            self.state += 1
        self._seen.take(snapshot, differing, whole=touched is None)

    def _fill(self, snapshot: Snapshot, differing: Differing) -> None:
        """Take over a first snapshot: what is left of a device is reckoned once, when all is known that bears on it."""
        for _, node in differing.nodes:
            if node is not None:
                self.ledger.know(node)
        for name, usage in differing.usage:
            self.ledger.measure(name, usage)
        for _, instance in differing.instances:
            if instance is not None:
                self.ledger.stand(instance)
        for _, node in differing.nodes:
            if node is not None:
                self.know(node)
        for key, reading in differing.readings:
            self.read(*key, reading or Reading())
        self._hub_models = dict(snapshot.hub_models)
        self.state += 1
        self._seen.take(snapshot, differing, whole=True)

    def know(self, node: Node) -> None:
        """Take a new or changed node."""
        seat = self.seats.get(node.name)
        if seat is None:
            seat = Seat(node, self._new_slot())
            self.seats[node.name] = seat
            self._names[seat.slot] = node.name
            self._ranked = False
            labels: Mapping[str, str] = {}
        else:
            labels = seat.node.labels
        self._label(seat.slot, labels, node.labels)
        standing = self._loosened(node.name) if self.ledger.shared_by(node.name) != unified_of(node) else []
        for shape in list(seat.columns):
            self.banks[shape].remove(seat)
        seat.node = node
        seat.cells.clear()
        self.ledger.know(node)
        for shape, devices in shapes_of(node).items():
            bank = self.banks.get(shape)
            if bank is None:
                bank = Bank(shape)
                self.banks = dict(sorted({**self.banks, shape: bank}.items()))
            bank.append(seat, devices)
        self._class[seat.slot] = self._class_id(node)
        self._changed()
        for instance in standing:
            self.ledger.stand(instance)
        self._refresh(seat)

    def forget(self, name: str) -> None:
        """Drop a node; claims on it stand, and count again if it comes back."""
        seat = self.seats.pop(name, None)
        if seat is None:
            return
        for shape in list(seat.columns):
            self.banks[shape].remove(seat)
        self._class[seat.slot] = -1
        self._label(seat.slot, seat.node.labels, {})
        self._ranked = False
        for path in list(self._answers):
            self._answer(path, seat.slot, Reading())
        self._free_slots.append(seat.slot)
        self._changed()

    def measure(self, name: str, usage: NodeUsage | None) -> None:
        """Take a node's latest measurement; None where there is none."""
        self.ledger.measure(name, usage)
        if name in self.seats:
            self._refresh(self.seats[name])

    def read(self, name: str, path: str, reading: Reading) -> None:
        """Take a node's answer about the model at a path."""
        seat = self.seats.get(name)
        if seat is None:
            return
        if self._answer(path, seat.slot, reading):
            self.revision += 1

    def readings_at(self, path: str) -> tuple[Codes, list[Reading]]:
        """Return, by slot, which of the distinct answers about a path a node gave; the first is none.

        Of what lies on a hub there is one.
        """
        if path in self._hub_models:
            return np.zeros(len(self._host), np.int64), [self._hub_models[path]]
        answers = self._answers.get(path)
        return (
            (np.zeros(len(self._host), np.int64), [Reading()]) if answers is None else (answers.codes, answers.distinct)
        )

    def answers(self, path: str) -> dict[str, Reading]:
        """Return the distinct answers about a path, each under the first node by name that gave it."""
        codes, distinct = self.readings_at(path)
        there = np.flatnonzero(self._class >= 0)
        found: dict[str, Reading] = {}
        for code in np.flatnonzero(np.bincount(codes[there])):
            slots = there[codes[there] == code]
            found[self._names[slots[np.argmin(self.rank[slots])]]] = distinct[code]
        return found

    def stand(self, instance: Instance) -> None:
        """Take the claims of a placed instance."""
        self.ledger.stand(instance)
        self._touch(instance.deployment, instance.placement, 1)

    def leave(self, instance: Instance) -> None:
        """Give back an instance's claims."""
        self.ledger.leave(instance)
        self._touch(instance.deployment, instance.placement, -1)

    def book(self, instance: str, deployment: str, placement: Placement) -> None:
        """Take the claims of a placement that is being planned."""
        self.ledger.book(instance, deployment, placement)
        self._touch(deployment, placement, 1)

    def release(self, instance: str, deployment: str, placement: Placement) -> None:
        """Take back what ``book`` added."""
        self.ledger.release(instance, deployment, placement)
        self._touch(deployment, placement, -1)

    @contextmanager
    def apart_from(self, instances: Mapping[str, Instance]) -> Iterator[None]:
        """Leave these instances' claims out for a while."""
        for instance in instances.values():
            self.leave(instance)
        try:
            yield
        finally:
            for instance in instances.values():
                self.stand(instance)

    def tally(self, deployment: str) -> Tally:
        """Return where a deployment's instances are."""
        tally = self._tallies.pop(deployment, None)
        if tally is None:
            tally = Tally(np.zeros(len(self._host), np.float64), {})
            for (name, device_id), count in self.ledger.places_of(deployment).items():
                if name in self.seats:
                    self._count(tally, self.seats[name], device_id, count)
            if len(self._tallies) >= MOST_TALLIES:
                del self._tallies[next(iter(self._tallies))]
        self._tallies[deployment] = tally
        return tally

    def _touch(self, deployment: str, placement: Placement | None, by: int) -> None:
        tally = self._tallies.get(deployment)
        for member in () if placement is None else placement.members:
            seat = self.seats.get(member.node)
            if seat is None:
                continue
            touched = [claim.device_id for claim in member.claim.devices]
            unified = self.ledger.shared_by(member.node)
            for device_id in {*touched, *unified} if unified else touched:
                self._refresh_device(seat, device_id)
            self._refresh_host(seat)
            if tally is not None:
                for device_id in ("", *dict.fromkeys(touched)):
                    self._count(tally, seat, device_id, by)

    def _refresh(self, seat: Seat) -> None:
        for shape in seat.columns:
            self.banks[shape].refresh_all(seat, self.ledger)
        self._refresh_host(seat)

    def _refresh_device(self, seat: Seat, device_id: str) -> None:
        cell = seat.cells.get(device_id)
        if cell is not None:
            shape, row, fit = cell
            self.banks[shape].refresh(seat, row, self.ledger, fit=fit)

    def _refresh_host(self, seat: Seat) -> None:
        self._host[seat.slot] = self.ledger.host_left(seat.node)
        self._busy[seat.slot] = self.ledger.instances(seat.node.name)

    def _count(self, tally: Tally, seat: Seat, device_id: str, by: int) -> None:
        if not device_id:
            tally.nodes[seat.slot] += by
            return
        cell = seat.cells.get(device_id)
        if cell is None:
            return
        shape, row, _ = cell
        counts = tally.devices.get(shape)
        if counts is None:
            counts = tally.devices[shape] = np.zeros_like(self.banks[shape].busy)
        counts[row, seat.columns[shape]] += by

    def _loosened(self, node: str) -> list[Instance]:
        """Give back the claims of all instances on a node, and return them."""
        names = sorted(self.ledger.holders_on(node))
        standing = [self._seen.instances[name] for name in names if name in self._seen.instances]
        for instance in standing:
            self.ledger.leave(instance)
        return standing

    def _label(self, slot: int, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        for label in before.items() - after.items():
            self._labels[label].discard(slot)
            if not self._labels[label]:
                del self._labels[label]
        for label in after.items() - before.items():
            self._labels.setdefault(label, set()).add(slot)

    def _changed(self) -> None:
        self.revision += 1
        self._tallies.clear()

    def _new_slot(self) -> int:
        if self._free_slots:
            return self._free_slots.pop()
        slot = len(self.seats)
        self._names.append("")
        if slot == len(self._host):
            self._host = np.pad(self._host, (0, slot), constant_values=-1)
            self._busy = np.pad(self._busy, (0, slot))
            self._class = np.pad(self._class, (0, slot), constant_values=-1)
            self._rank = np.pad(self._rank, (0, slot))
            for answers in self._answers.values():
                answers.codes = np.pad(answers.codes, (0, slot))
        return slot

    def _answer(self, path: str, slot: int, reading: Reading) -> bool:
        """Take an answer, and return whether it is another one; a path that nobody knows of is forgotten."""
        answers = self._answers.get(path)
        if answers is None:
            answers = self._answers[path] = _Answers(np.zeros(len(self._host), np.int64))
        code = answers.code_of(reading)
        before = int(answers.codes[slot])
        answers.codes[slot] = code
        answers.given += (code > 0) - (before > 0)
        if not answers.given:
            del self._answers[path]
        return code != before

    def _class_id(self, node: Node) -> int:
        key = class_of(node)
        number = self._class_ids.setdefault(key, len(self._class_ids))
        if number == len(self.classes):
            self.classes.append(node)
        return number


def _standing(instance: Instance | None) -> tuple[Placement, str, bool] | None:
    """Return what of an instance the columns know: two that are equal in it are the same to them."""
    if instance is None or instance.placement is None:
        return None
    return instance.placement, instance.deployment, is_loaded(instance)
