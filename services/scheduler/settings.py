"""What the scheduler can be told by its environment, besides what every service needs."""

from __future__ import annotations

from typing import Annotated

from shared.settings import Settings, Var


class SchedulerSettings(Settings, frozen=True, kw_only=True):
    """``unpaced_simulation`` is for load tests: no SIM and no Android is behind such a phone."""

    unpaced_simulation: Annotated[
        bool,
        Var(
            "EIGHTMS_UNPACED_SIMULATION",
            "simulated phones are not held to 24 parts a minute; real phones always are",
        ),
    ] = False
    window: Annotated[
        int,
        Var("EIGHTMS_PHONE_WINDOW", "commands a phone may hold that it has not submitted yet"),
    ] = 4
    lease_s: Annotated[
        float,
        Var("EIGHTMS_LEASE_S", "after this a command no phone accepted may be recalled"),
    ] = 300.0
