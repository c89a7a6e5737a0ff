"""The service's own settings."""

from __future__ import annotations

from typing import Annotated

from shared.settings import BadSetting, Settings, Var

# Standard Webhooks 1.0.0: ten attempts in 75 h 35 min.
SCHEDULE = "0,5,300,1800,7200,18000,36000,50400,72000,86400"


class WebhookSettings(Settings, frozen=True, kw_only=True):
    """What every service needs, and when and how long an endpoint is tried."""

    webhook_schedule: Annotated[
        str,
        Var(
            "EIGHTMS_WEBHOOK_SCHEDULE_S",
            "seconds to wait before each attempt, comma separated; as many attempts as numbers",
        ),
    ] = SCHEDULE
    webhook_timeout_s: Annotated[
        float, Var("EIGHTMS_WEBHOOK_TIMEOUT_S", "seconds an endpoint has to answer one attempt")
    ] = 15.0

    def schedule_s(self) -> tuple[float, ...]:
        """The schedule as numbers. BadSetting when it is not one."""
        try:
            schedule = tuple(float(part) for part in self.webhook_schedule.split(","))
        except ValueError:
            schedule = ()
        if not schedule or min(schedule) < 0:
            raise BadSetting("EIGHTMS_WEBHOOK_SCHEDULE_S must be numbers such as 0,5,300")
        return schedule
