import pytest

from motorpool_controller.domain import templates


def test_names_stand_in_their_order_once() -> None:
    """
    Spaces within the braces do not matter, nor does what surrounds them.
    """
    assert ("port", "A_1") == templates.names(["--at={{port}}:{{ A_1 }}", "{{port}}", "{port}", "{{ }}", "{{1}}"])


@pytest.mark.parametrize("text", ["", "plain", "{{port}}", '{"a": {"b": 1}}', "}} {", "x{{port}}{{ model_name }}"])
def test_well_written_templates(text: str) -> None:
    """
    Braces that open no variable are nobody's business, JSON's least of all.
    """
    assert "" == templates.malformed(text)


@pytest.mark.parametrize(
    "text", ["{{", "{{}}", "{{ a b }}", "{{1x}}", "{{{{port}}}}", "{{ {{port}} }}", "{{port}", "{{$X}}"]
)
def test_badly_written_templates(text: str) -> None:
    """
    Two braces that begin no variable are told, with where they stand; templates are not nested.
    """
    assert "{{" in templates.malformed(text)
