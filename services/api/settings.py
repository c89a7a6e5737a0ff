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
    rate_key: Annotated[
        float,
        Var(
            "EIGHTMS_RATE_KEY",
            "requests a second of a key or user, two seconds' worth at once; 0: no limit",
        ),
    ] = 1000.0
    rate_workspace: Annotated[
        float, Var("EIGHTMS_RATE_WORKSPACE", "the same of one workspace together; 0: no limit")
    ] = 2000.0
    requests_kept_days: Annotated[
        int, Var("EIGHTMS_REQUESTS_KEPT_DAYS", "how long the request log is kept; 0: there is none")
    ] = 7
    proxy_hops: Annotated[
        int,
        Var(
            "EIGHTMS_PROXY_HOPS",
            "proxies of yours in front, each of which adds to X-Forwarded-For; 0: none, and the "
            "header is not believed",
        ),
    ] = 0
