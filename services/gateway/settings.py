"""What can be set in the gateway, beside what every service needs."""

from __future__ import annotations

from typing import Annotated

from shared.settings import Settings, Var


class GatewaySettings(Settings, frozen=True, kw_only=True):
    """The times of the phone protocol; tests shorten them."""

    heartbeat_s: Annotated[
        float,
        Var(
            "EIGHTMS_GATEWAY_HEARTBEAT_S", "phones give a sign of life this often; two missed: late"
        ),
    ] = 60.0
    offline_after_s: Annotated[
        float, Var("EIGHTMS_GATEWAY_OFFLINE_AFTER_S", "a phone silent for so long is offline")
    ] = 300.0
    stream_gone_s: Annotated[
        float,
        Var("EIGHTMS_GATEWAY_STREAM_GONE_S", "a phone without a stream for so long is offline"),
    ] = 60.0
    ping_s: Annotated[
        float, Var("EIGHTMS_GATEWAY_PING_S", "seconds between two pings on a stream")
    ] = 15.0
    inventory_settle_s: Annotated[
        float,
        Var(
            "EIGHTMS_GATEWAY_INVENTORY_SETTLE_S",
            "an inventory proves that a command is not held once the stream is this old: longer "
            "than a phone waits for an answer, so that none from before the stream is on its way",
        ),
    ] = 45.0
