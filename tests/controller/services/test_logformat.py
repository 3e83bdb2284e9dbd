import logging

import pytest

from motorpool_controller.services.logformat import FieldsFormatter


def line(message: str, *arguments: object, **fields: object) -> str:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, message, arguments, None)
    record.created = 1_767_323_045.678
    record.msecs = 678
    record.__dict__.update(fields)
    return FieldsFormatter().format(record)


def test_line_has_time_level_words_and_fields() -> None:
    """
    A line says when in UTC, how bad, what happened, then the fields.
    """
    assert line("%s lost", "node", node="nodes/a", seconds=3) == (
        "2026-01-02T03:04:05.678Z warning node lost node=nodes/a seconds=3"
    )


@pytest.mark.parametrize("value", ["two words", "a=b", 'a"b', "a\nb 2026-01-01 error forged", ""])
def test_field_cannot_forge_lines_or_fields(value: str) -> None:
    """
    A field with spaces, quotes, equals signs or newlines is quoted, on one line.
    """
    text = line("x", field=value)

    assert "\n" not in text
    assert 'field="' in text
