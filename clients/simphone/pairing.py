"""Taking a pairing: one POST that turns a registration token into a credential."""

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from clients.simphone import protocol
from clients.simphone.errors import GatewayUnreachable, PairingRefused
from clients.simphone.http import Target, Unusable, Wires, with_body
from clients.simphone.protocol import Paired, PairingLink, Problem, Sim

TRIES = 5
TIMEOUT_S = 20.0
REFUSED = (
    "The gateway does not take this pairing link: it has expired (links last 10 minutes), was used"
    " before, or is not from this server. Open a new pairing in the dashboard and use its link."
)


async def take_pairing(
    wires: Wires,
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
    try:
        target = Target.of(f"{link.endpoint}/phone/v1/pair")
    except Unusable:
        raise GatewayUnreachable("The pairing link names no gateway.") from None
    head = target.head("POST", {"Content-Type": "application/json"})
    request = with_body(head, protocol.encode(body))
    for attempt in range(TRIES):
        retry_after_s = None
        answer = await wires.answer(target.origin, request, TIMEOUT_S)
        if answer is not None:
            if answer.status != 503:
                return _usable(_answer(answer.status, answer.body), link)
            retry_after_s = protocol.parse_retry_after(answer.retry_after, datetime.now(UTC))
        if attempt + 1 < TRIES:
            await pause(protocol.backoff_s(attempt + 1, retry_after_s, rng))
    raise GatewayUnreachable("The gateway named in the pairing link does not answer.")


def _usable(paired: Paired, link: PairingLink) -> Paired:
    try:
        stream = Target.of(protocol.stream_address(link.endpoint, paired.stream_url))
        stream.head("GET", {"Authorization": paired.credential})
    except Unusable as error:
        raise GatewayUnreachable(f"The gateway's answer has {error}.") from None
    return paired


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
