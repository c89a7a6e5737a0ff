"""What `eightms up` says once everything runs: where things are, and how to send the first text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from pathlib import Path

from services.scheduler import policy
from shared import numbers

NIGHT = time(21), time(8)  # the quiet hours a workspace begins with
LASTS = timedelta(hours=1)  # so long the number shown stays a good one
EXAMPLES = ("+14155550123", "+12125550123", "+18085550123", "+16715550123", "+493023125123")
"""Numbers that belong to nobody (555-01xx; 030 23125 in Germany). Somewhere it is always day."""


def daytime_number(now: datetime) -> str:
    """An example number where nobody would be woken, now and for the next hour."""
    for number in EXAMPLES:
        zones = numbers.timezones(number)
        if all(policy.quiet_until(at, zones, *NIGHT) is None for at in (now, now + LASTS)):
            return number
    return EXAMPLES[0]


def text(
    *,
    public_url: str,
    gateway_url: str,
    environment: str,
    data: Path,
    services: Sequence[str],
    api_key: str | None,
    sign_in_url: str | None,
    phones: Sequence[str],
    now: datetime,
) -> str:
    """Everything a newcomer needs, in the order it is needed."""
    lines = ["", f"8ms is running ({environment}). Its data is in {data}; Ctrl-C stops it.", ""]
    if "api" in services:
        lines += [f"  Start    {public_url}/app", f"  API      {public_url}/v1"]
    if "gateway" in services:
        lines.append(f"  Phones   {gateway_url}{_reach(gateway_url)}")
    lines.append(f"  Running  {', '.join(services)}")
    if api_key is None:
        lines += ["", "This log began elsewhere: use a key you have, or make one with", ""]
        lines.append("  eightms workspace create --email you@example.com")
        return "\n".join(lines)
    lines.append(f"  API key  {api_key}")
    if sign_in_url:
        lines.append(f"  Sign in  {sign_in_url}")
    if "api" in services:
        lines += _first_text(public_url, api_key, phones, now)
    return "\n".join([*lines, ""])


def _reach(url: str) -> str:
    if "//127.0.0.1" not in url and "//localhost" not in url:
        return ""
    return "   (a real phone needs an address it can reach: EIGHTMS_GATEWAY_URL, EIGHTMS_HOST)"


def _first_text(public_url: str, api_key: str, phones: Sequence[str], now: datetime) -> list[str]:
    through = "through the simulated phone" if phones else "(it waits until a phone is paired)"
    number = daytime_number(now)
    curl = [
        "",
        f"Send a text {through}:",
        "",
        f"  curl -s {public_url}/v1/sms/send -H 'Authorization: Bearer {api_key}' \\",
        "    -H 'Content-Type: application/json' \\",
        f'    -d \'{{"to": "{number}", "body": "Hello from my own phone"}}\'',
        "",
        "A phone sends one text every 4 minutes, at most 50 a day while it is new, and none from",
        "21:00 to 08:00 where the recipient is: so that its SIM lives long. What has to wait says",
        f"why: GET {public_url}/v1/messages/ID, or `eightms trace ID`.",
    ]
    if phones:
        curl += [
            "",
            "Have it answer:",
            "",
            f"  eightms phone receive {phones[0]} --from {number} --body STOP",
        ]
    return curl
