"""Settings of services/api beyond everybody's."""

from __future__ import annotations

from typing import Annotated

from shared.settings import Settings, Var


class ApiSettings(Settings, frozen=True, kw_only=True):
    """The public API's."""

    simulator_url: Annotated[
        str,
        Var(
            "EIGHTMS_SIMULATOR_URL",
            "control address of the host of simulated phones, http://…; empty: there is none",
        ),
    ] = ""
