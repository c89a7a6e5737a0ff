"""The control interface of a running process: HTTP on `<state-dir>/control.sock`, for whoever may
enter the state folder, and on request on a loopback port.

    POST /phones                      {uri, device_id?} or {uris}  → 201 {phones, errors}
    GET  /phones                                                   → {phones: [...]}
    POST /phones/{phone_id}/receive   {from, body, subscription_id?} → 201 {provider_id}
    GET  /phones/{phone_id}/texts?limit=                           → {texts: [...]}, newest first
    POST /phones/{phone_id}/online    {online}                     airplane mode is online: false
    POST /phones/{phone_id}/battery   {battery, charging?}

Errors are problem+json with a stable `code`. The functions at the end are the client.
"""

import ipaddress
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import web

from clients.simphone.errors import (
    BadControlRequest,
    BadPairingUri,
    GatewayUnreachable,
    NotHosted,
    SimphoneError,
    UnknownPhone,
)

if TYPE_CHECKING:
    from clients.simphone.host import SimHost

SOCKET_NAME = "control.sock"
SOCKET_PATH_MAX = 107  # bytes: sun_path of a Unix socket
MAX_BODY_BYTES = 8 * 1024 * 1024  # ten thousand pairing links
TEXTS_DEFAULT, TEXTS_MAX = 50, 500
CLIENT_TIMEOUT_S = 300.0  # pairing ten thousand phones takes a while

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body", bound=msgspec.Struct)


class PairBody(msgspec.Struct, forbid_unknown_fields=True):
    uri: str | None = None
    uris: list[str] | None = None
    count: int | None = None
    device_id: str | None = None


class ReceiveBody(msgspec.Struct, forbid_unknown_fields=True):
    from_: str = msgspec.field(name="from")
    body: str
    subscription_id: int | None = None


class OnlineBody(msgspec.Struct, forbid_unknown_fields=True):
    online: bool


class BatteryBody(msgspec.Struct, forbid_unknown_fields=True):
    battery: int
    charging: bool | None = None


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


def _problem(status: int, code: str, detail: str) -> web.Response:
    problem = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return web.Response(
        body=msgspec.json.encode(problem), status=status, content_type="application/problem+json"
    )


def _status(error: SimphoneError) -> int:
    match error:
        case UnknownPhone():
            return 404
        case BadControlRequest():
            return 400
        case GatewayUnreachable():
            return 502
        case _:
            return 422


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as problems. No web page may drive a phone: it can neither send this content type
    without asking first, nor reach the port under a loopback name."""
    if not _loopback(request.url.host):
        return _problem(403, "not_loopback", "The control interface answers loopback names only.")
    if request.method == "POST" and request.content_type != "application/json":
        return _problem(415, "unsupported_media_type", "Send application/json.")
    try:
        return await handler(request)
    except SimphoneError as error:
        return _problem(_status(error), error.code, str(error))
    except web.HTTPException as error:
        code = (error.reason or "error").lower().replace(" ", "_")
        return _problem(error.status, code, error.text or error.reason)


def _loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


async def _body(request: web.Request, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadControlRequest(str(error)) from None


def socket_of(state_dir: Path) -> Path:
    """Where the process that has ``state_dir`` listens: in it, unless its path is too long."""
    path = state_dir / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX:
        return path
    name = blake2b(os.fsencode(state_dir.resolve()), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"eightms-{name}.sock"


class ControlServer:
    """Serves the control interface of one host."""

    def __init__(self, host: "SimHost", tcp_port: int | None) -> None:
        self._host, self._tcp_port = host, tcp_port
        self.port: int | None = None

    async def start(self) -> None:
        """Open the socket, and the loopback port where one was asked for (0: any)."""
        app = web.Application(middlewares=[_guard], client_max_size=MAX_BODY_BYTES)
        one = "/phones/{phone_id}"
        app.router.add_post("/phones", self._pair)
        app.router.add_get("/phones", self._list)
        app.router.add_post(one + "/receive", self._receive)
        app.router.add_get(one + "/texts", self._texts)
        app.router.add_post(one + "/online", self._online)
        app.router.add_post(one + "/battery", self._battery)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        self._path = socket_of(self._host.state_dir)
        self._path.unlink(missing_ok=True)  # left by a killed process: the lock says so
        await web.UnixSite(self._runner, str(self._path)).start()
        self._path.chmod(0o600)  # the state folder may have been there before, open to others
        if self._tcp_port is not None:
            await web.TCPSite(self._runner, "127.0.0.1", self._tcp_port).start()
            self.port = self._runner.addresses[-1][1]

    async def stop(self) -> None:
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _pair(self, request: web.Request) -> web.Response:
        body = await _body(request, PairBody)
        if body.uri is not None and body.uris is None:
            paired = await self._host.pair(body.uri, body.count or 1, device_id=body.device_id)
            return _json({"phones": [one._asdict() for one in paired], "errors": []}, 201)
        if not body.uris or body.uri is not None or body.device_id is not None:
            raise BadControlRequest(
                "Give one uri (with a device_id if it is paired again), or uris."
            )
        if body.count not in (None, len(body.uris)):
            raise BadPairingUri("A pairing link works once: give as many links as phones.")
        results = await self._host.pair_all(body.uris)
        return _json(
            {
                "phones": [one._asdict() for one in results if not isinstance(one, SimphoneError)],
                "errors": [
                    {"index": n, "code": one.code, "detail": str(one)}
                    for n, one in enumerate(results)
                    if isinstance(one, SimphoneError)
                ],
            },
            201,
        )

    async def _list(self, _: web.Request) -> web.Response:
        return _json({"phones": [phone.summary() for phone in self._host.phones.values()]})

    async def _receive(self, request: web.Request) -> web.Response:
        body = await _body(request, ReceiveBody)
        phone_id = request.match_info["phone_id"]
        arrived = self._host.receive(phone_id, body.from_, body.body, body.subscription_id)
        return _json({"provider_id": await arrived}, 201)

    async def _texts(self, request: web.Request) -> web.Response:
        try:
            limit = int(request.query.get("limit", TEXTS_DEFAULT))
        except ValueError:
            limit = 0
        if not 1 <= limit <= TEXTS_MAX:
            raise BadControlRequest(f"limit is 1 to {TEXTS_MAX}.")
        return _json({"texts": self._host.texts(request.match_info["phone_id"], limit)})

    async def _online(self, request: web.Request) -> web.Response:
        body = await _body(request, OnlineBody)
        self._host.set_online(request.match_info["phone_id"], body.online)
        return _json(self._host.phone(request.match_info["phone_id"]).summary())

    async def _battery(self, request: web.Request) -> web.Response:
        body = await _body(request, BatteryBody)
        phone_id = request.match_info["phone_id"]
        self._host.set_battery(phone_id, body.battery, body.charging)
        return _json(self._host.phone(phone_id).summary())


# The client. `where` is a state folder, or the address of a process's loopback port.


def _address(where: str | Path) -> tuple[str, aiohttp.BaseConnector]:
    if isinstance(where, str) and where.startswith("http://"):
        return where.rstrip("/"), aiohttp.TCPConnector()
    return "http://localhost", aiohttp.UnixConnector(str(socket_of(Path(where))))


async def call(where: str | Path, method: str, path: str, body: object = None) -> Any:
    """One control call. NotHosted when no process serves `where`; what the process refuses comes
    back as SimphoneError with its code."""
    base, connector = _address(where)
    timeout = aiohttp.ClientTimeout(total=CLIENT_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        try:
            async with session.request(method, base + path, json=body) as response:
                answer = await response.json(content_type=None)
                if response.status < 400:
                    return answer
        except (aiohttp.ClientConnectionError, FileNotFoundError):
            raise NotHosted(
                f"No simulated phones are running there ({where}): start them with"
                " `eightms phone simulate`."
            ) from None
    error = SimphoneError(answer.get("detail", "refused"))
    error.code = answer.get("code", error.code)
    raise error


async def pair(
    where: str | Path, uri: str | Sequence[str], count: int | None = None
) -> dict[str, Any]:
    """Pair more phones: `{phones: [{phone_id, label}], errors: [{index, code, detail}]}`."""
    links = {"uri": uri} if isinstance(uri, str) else {"uris": list(uri)}
    return await call(where, "POST", "/phones", {**links, "count": count})


async def phones(where: str | Path) -> list[dict[str, Any]]:
    """The phones a process hosts."""
    return (await call(where, "GET", "/phones"))["phones"]


async def receive(
    where: str | Path, phone_id: str, from_: str, body: str, subscription_id: int | None = None
) -> str:
    """Make a phone receive a text; its provider id."""
    text = {"from": from_, "body": body, "subscription_id": subscription_id}
    answer = await call(where, "POST", f"/phones/{quote(phone_id, safe='')}/receive", text)
    return answer["provider_id"]
