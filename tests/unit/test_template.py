"""Templates: what stands in a blank, what is missing, and what cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.decide.template import Mistake, Template, parse, values

ADA = values(
    {"first_name": "Ada", "last_name": "Lovelace", "phone": "+14155550123", "company": " "},
    {"Birthday": "10 December", "first_name": "Augusta", "empty": ""},
    "Acme",
)


def template(text: str) -> Template:
    found = parse(text)
    assert isinstance(found, Template), found
    return found


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("Hello", "Hello"),
        ("Hi {{first_name}}!", "Hi Ada!"),
        ("Hi {{ First_Name | there }}!", "Hi Ada!"),
        ("{{full_name}} of {{company|home}}, {{workspace}}", "Ada Lovelace of home, Acme"),
        ("{{birthday}} {{BIRTHDAY}} {{custom.birthday}}", "10 December 10 December 10 December"),
        ("{{custom.first_name}}", "Augusta"),
        ("{{email|}}{{empty|none}}", "none"),
        ("{{email}}.", "."),
        ("A { brace } stays, \\{{first_name too", "A { brace } stays, {{first_name too"),
        ("{{nick|a|b}}", "a|b"),
    ],
)
def test_blanks_are_filled(text: str, body: str) -> None:
    assert template(text).render(ADA) == body


def test_variables_are_named_once_in_their_order() -> None:
    assert template("{{b}} {{a|x}} {{B}} {{first_name}}").variables == (
        "custom.b",
        "custom.a",
        "first_name",
    )


def test_missing_is_what_nobody_fills() -> None:
    found = template("{{email}} {{company|you}} {{first_name}} {{email}} {{birthday}}")
    assert found.missing(ADA) == ["email"]
    assert found.missing({}) == ["email", "first_name", "custom.birthday"]


@pytest.mark.parametrize(
    ("text", "code", "position"),
    [
        ("Hi {{first_name", "unclosed_variable", 3),
        ("Hi {{a {{b}}", "unclosed_variable", 3),
        ("Hi a}}", "unopened_variable", 4),
        ("Hi {{}}", "empty_variable", 3),
        ("Hi {{|x}}", "empty_variable", 3),
        ("Hi {{first-name?}}", "unknown_syntax", 3),
        ("Hi {{#if x}}", "unknown_syntax", 3),
        ("Hi {{a\nb}}", "unknown_syntax", 3),
    ],
)
def test_a_mistake_is_named_with_its_position(text: str, code: str, position: int) -> None:
    found = parse(text)
    assert isinstance(found, list)
    assert [(one.code, one.position) for one in found] == [(code, position)]


def test_every_mistake_is_named_at_once() -> None:
    found = parse("{{}} }} {{a")
    assert isinstance(found, list)
    assert [one.code for one in found] == [
        "empty_variable",
        "unopened_variable",
        "unclosed_variable",
    ]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    found = parse(text)
    if isinstance(found, Template):
        assert isinstance(found.render({}), str)
        if "{{" not in text:
            assert found.render({}) == text
    else:
        assert all(isinstance(one, Mistake) and 0 <= one.position <= len(text) for one in found)
