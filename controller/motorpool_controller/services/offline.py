"""``motorpool-controller inspect``: a model without a controller, an agent, or, where it lies on a disk, a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.json_format import MessageToJson

from motorpool import v1
from motorpool.sources import SourceError, parse_source, source_text
from motorpool_controller.catalog.budget import Budget
from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Settings
from motorpool_controller.domain.errors import InvalidError, PreconditionError
from motorpool_controller.domain.sizes import MIB, in_words
from motorpool_controller.domain.specs import check_source
from motorpool_controller.domain.workload import SourceKind
from motorpool_controller.services.convert.model import source_of
from motorpool_controller.services.inspections import Found, Wish, inspection
from motorpool_controller.services.known import KNOWN
from motorpool_formats import FormatError, read_model


def inspect_offline(word: str, settings: Settings, parameters: Sequence[str] = (), *, as_json: bool = False) -> str:
    """Return what a model's headers say, of one of this machine or on a hub, in lines or JSON; raise a DomainError.

    The JSON is the document that ``motorpool model inspect --output json`` prints, but for the fleet's part.
    """
    found = _inspected(word, settings, parameters)
    return MessageToJson(found, preserving_proto_field_name=True) if as_json else _text(found)


def _inspected(word: str, settings: Settings, parameters: Sequence[str]) -> v1.ModelInspection:
    try:
        source = source_of(parse_source(word), "SOURCE")
    except SourceError as error:
        raise InvalidError("FIELD_INVALID", str(error)) from error
    check_source(source, "SOURCE")
    if source.kind is SourceKind.LOCAL_PATH:
        try:
            found = Found(source=source, facts=read_model(Path(source.path)), read_from="this machine")
        except FormatError as error:
            raise PreconditionError(error.reason, str(error)) from error
    else:
        # What a controller of this machine learnt is known here, too; without one nothing is kept.
        cache = FactsCache(settings.catalog if settings.data_dir.is_dir() else None)
        known = Catalog(HUBS, cache).read(source, Budget(settings.hub_seconds))
        found = Found(
            source=source,
            facts=known.facts,
            read_from=known.endpoint,
            commit=known.commit,
            fetched_bytes=known.spent.fetched_bytes,
        )
    shown = inspection(found, Wish(parameters=tuple(parameters)), KNOWN)
    # Of backends the rules are known here, and not what they can run.
    del shown.backends[:]
    return shown


def _text(found: v1.ModelInspection) -> str:
    """Return the most of it in lines for a person."""
    return "\n".join(f"{name:<12} {value}" for name, value in _lines(found) if value)


def _lines(found: v1.ModelInspection) -> Iterator[tuple[str, str]]:
    facts = found.facts
    yield "Model", source_text(found.source)
    yield "Read from", found.read_from
    yield "Commit", found.commit
    yield "Name", facts.display_name
    yield "Format", " ".join(word for word in (facts.format, facts.architecture, facts.quantization) if word)
    yield "For", ", ".join(facts.categories)
    yield "Weights", in_words(facts.weight_bytes) if facts.HasField("weight_bytes") else ""
    for role, size in facts.roles.ListFields():
        yield f"  {role.name}", in_words(size) if size >= MIB else f"{size} bytes"
    yield "Files", ", ".join(facts.files)
    yield "Layers", str(facts.layers) if facts.HasField("layers") else ""
    yield "Context", f"{facts.context_length} tokens" if facts.HasField("context_length") else ""
    for estimate in found.estimates:
        yield "Needs", _needs(estimate, found.backend)
    for finding in found.findings:
        yield "Note", finding


def _needs(estimate: v1.ContextEstimate, backend: str) -> str:
    host, device = estimate.host, estimate.device
    at = f"with {backend}" + (f" at {estimate.context_length} tokens" if estimate.HasField("context_length") else "")
    parts = [
        f"{in_words(needs.upper_bytes)} {where}"
        for needs, where in ((host, "in host memory alone"), (device, "on a device"))
        if needs.HasField("upper_bytes")
    ]
    return f"{' or '.join(parts)} {at}" if parts else f"unknown {at}: {host.provenance}"
