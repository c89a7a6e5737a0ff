"""`--subject` and `--workspace` as filters that NATS takes."""

import pytest

from cli.errors import UsageError
from cli.subjects import filters

WS = "ws_" + "0" * 26


@pytest.mark.parametrize(
    ("subjects", "workspace", "wanted"),
    [
        ([], None, [">"]),
        ([], WS, [f"*.*.{WS}.>"]),
        (["sms"], None, ["sms.>"]),
        (["sms.>"], None, ["sms.>"]),
        (["sms.delivered"], None, ["sms.delivered.>"]),
        (["sms"], WS, [f"sms.*.{WS}.>"]),
        (["sms.delivered"], WS, [f"sms.delivered.{WS}.>"]),
        (["*.*.ws_1.con_1"], None, ["*.*.ws_1.con_1"]),
        (["*"], WS, [f"*.*.{WS}.>"]),
        (["sms.sent", "send", "sms.sent"], None, ["sms.sent.>", "send.>"]),
        (["sms.sent", "sms"], None, ["sms.>"]),
        (["sms", "sms.sent.ws_1.con_1"], None, ["sms.>"]),
    ],
)
def test_what_is_meant(subjects: list[str], workspace: str | None, wanted: list[str]) -> None:
    assert filters(subjects, workspace) == wanted


@pytest.mark.parametrize(
    ("subjects", "workspace"),
    [
        (["smss"], None),
        (["sms.flown"], None),
        (["sms.sent.ws_1"], WS),
        (["sms.sent.ws_1.con_1.more"], None),
        (["sms..ws"], None),
        (["sms"], "ws_short"),
        (["*.created", "workspace.*.ws_1"], None),
    ],
)
def test_what_cannot_be_meant_is_refused(subjects: list[str], workspace: str | None) -> None:
    with pytest.raises(UsageError):
        filters(subjects, workspace)
