"""Settings from the environment: found, converted, and named when they are wrong."""

from typing import Annotated

import pytest

from shared.settings import BadSetting, Settings, Var, describe, load

GOOD = {
    "DATABASE_URL": "postgresql://db/eightms",
    "NATS_URL": "nats://api:secret@nats:4222",
    "EIGHTMS_SECRET_KEY": "k",
}


class Special(Settings, frozen=True, kw_only=True):
    patience_s: Annotated[float, Var("EIGHTMS_PATIENCE_S", "how long to wait")] = 2.5
    eager: Annotated[bool, Var("EIGHTMS_EAGER", "whether to hurry")] = False


def test_defaults_are_for_everything_that_has_one() -> None:
    settings = load(Special, GOOD)
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 0, "info")
    assert (settings.patience_s, settings.eager, settings.development) == (2.5, False, False)


def test_values_are_of_their_kind() -> None:
    env = {"EIGHTMS_PORT": "8080", "EIGHTMS_PATIENCE_S": "0.5", "EIGHTMS_EAGER": "true"}
    settings = load(Special, GOOD | env | {"EIGHTMS_ENV": "development", "UNRELATED": "x"})
    assert (settings.port, settings.patience_s, settings.eager) == (8080, 0.5, True)
    assert settings.development


def test_every_missing_variable_is_named_at_once() -> None:
    with pytest.raises(BadSetting) as error:
        load(Settings, {"NATS_URL": ""})
    for name in ("DATABASE_URL", "NATS_URL", "EIGHTMS_SECRET_KEY"):
        assert f"{name} is not set" in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("EIGHTMS_PORT", "http"), ("EIGHTMS_EAGER", "maybe")])
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name):
        load(Special, GOOD | {name: value})


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load(Settings, GOOD | {"EIGHTMS_PORT": ""}).port == 0


def test_help_describes_every_variable() -> None:
    text = describe(Special)
    assert "EIGHTMS_PATIENCE_S\n      how long to wait (default 2.5)" in text
    assert "DATABASE_URL\n      PostgreSQL, as postgresql://… (required)" in text
    assert text.count("\n  ") >= len(Special.__struct_fields__)
