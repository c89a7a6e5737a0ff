"""Taking a pairing: one POST that turns a registration token into a credential."""

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import aiohttp

from clients.simphone import protocol
from clients.simphone.errors import GatewayUnreachable, PairingRefused
from clients.simphone.protocol import Paired, PairingLink, Problem, Sim

TRIES = 5
TIMEOUT_S = 20.0
REFUSED = (
    "The gateway does not take this pairing link: it has expired (links last 10 minutes), was used"
    " before, or is not from this server. Open a new pairing in the dashboard and use its link."
)


async def take_pairing(
    session: aiohttp.ClientSession,
    link: PairingLink,
    device_id: str,
    sims: list[Sim],
    *,
    rng: random.Random,
    pause: Callable[[float], Awaitable[object]],
) -> Paired:
    """Pair a simulated handset. PairingRefused when the token is worth nothing, GatewayUnreachable
    when there is no usable answer.

    Tried again after 503 and after a broken connection, with the same token and device: a gateway
    that had already answered refuses it, and then the words for a used link are true.
    """
    body = {
        "token": link.token,
        "device": {
            "device_id": device_id,
            "manufacturer": "8ms",
            "model": "Simulated phone",
            "android": "14",
            "app_version": protocol.APP_VERSION,
            "simulated": True,
        },
        "sims": sims,
    }
    for attempt in range(TRIES):
        retry_after_s = None
        try:
            async with session.post(
                f"{link.endpoint}/phone/v1/pair",
                data=protocol.encode(body),
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                raw = await response.read()
                if response.status != 503:
                    return _answer(response.status, raw)
                wait = response.headers.get("Retry-After")
                retry_after_s = protocol.parse_retry_after(wait, datetime.now(UTC))
        except (aiohttp.ClientError, OSError):
            pass
        if attempt + 1 < TRIES:
            await pause(protocol.backoff_s(attempt + 1, retry_after_s, rng))
    raise GatewayUnreachable("The gateway named in the pairing link does not answer.")


def _answer(status: int, raw: bytes) -> Paired:
    if status == 201:
        try:
            return protocol.decode(raw, Paired)
        except protocol.Malformed as error:
            raise GatewayUnreachable(f"The gateway's answer is {error}.") from None
    if status == 410:
        raise PairingRefused(REFUSED)
    try:
        problem = protocol.decode(raw, Problem)
    except protocol.Malformed:
        problem = Problem()
    if 400 <= status < 500:
        detail = problem.detail or "no reason given"
        raise PairingRefused(
            f"The gateway refused the pairing ({status}): {detail}", problem.code or "refused"
        )
    raise GatewayUnreachable(f"The gateway answered {status} to the pairing.")
