"""Every operation, called with the ids of another workspace: there is nothing there. On real parts.

The calls are made from the list of operations, so that a new one is called the day it is there. A
new kind of id needs a way to make one, in MAKERS, or the test fails and says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from services.api.openapi import document
from services.api.operation import Operation
from services.api.operations import OPERATIONS
from tests.stack import Stack, Workspace

TO = "+14155550100"
Maker = Callable[[Stack], Awaitable[str]]


async def made(stack: Stack, path: str, body: Any, status: int = 201) -> Any:
    """What POST answers. AssertionError unless it is ``status``."""
    answer = await stack.api("POST", path, body)
    assert answer.status == status, (path, answer.status, answer.body, stack.report())
    return answer.body


async def a_message(stack: Stack) -> dict[str, Any]:
    return await stack.send(TO, "Hello")


async def _message(stack: Stack) -> str:
    return (await a_message(stack))["id"]


async def _contact(stack: Stack) -> str:
    return (await a_message(stack))["contact_id"]


async def _conversation(stack: Stack) -> str:
    return (await a_message(stack))["conversation_id"]


async def _phone(stack: Stack) -> str:
    return stack.phones[0]


async def _key(stack: Stack) -> str:
    body = {"name": "Another", "scopes": ["messages:read"]}
    return (await made(stack, "/v1/api-keys", body))["id"]


async def _endpoint(stack: Stack) -> str:
    return await stack.endpoint("/isolation", ["*"])


async def _attempt(stack: Stack) -> str:
    endpoint_id = await stack.endpoint("/isolation-attempt", ["sms.sent"])
    await made(stack, f"/v1/webhooks/{endpoint_id}/test", {"type": "sms.sent"}, 202)

    async def attempt() -> str | None:
        answer = await stack.api("GET", f"/v1/webhooks/{endpoint_id}/attempts")
        return answer.body["data"][0]["id"] if answer.body["data"] else None

    return await stack.until("the endpoint was tried", attempt)


async def _pairing(stack: Stack) -> str:
    return (await made(stack, "/v1/phones/pairings", {"label": "Desk"}))["id"]


async def _request(stack: Stack) -> str:
    answer = await stack.api("GET", "/v1/workspace")
    id = answer.headers["X-Request-Id"]

    async def logged() -> bool:
        return (await stack.api("GET", f"/v1/requests/{id}")).status == 200

    await stack.until("the request is in the log", logged)
    return id


async def _task(stack: Stack) -> str:
    """An import with a wrong row, so that it has a result to download."""
    form = aiohttp.FormData()
    form.add_field("file", b"phone\n+14155550123\nnobody\n", filename="people.csv")
    headers = {"Authorization": f"Bearer {stack.workspace.key}"}
    url = stack.url("api") + "/v1/contacts/bulk"
    async with stack.http.post(url, data=form, headers=headers) as response:
        assert response.status == 202, await response.text()
        task = await response.json()

    async def ended() -> bool:
        answer = await stack.api("GET", f"/v1/tasks/{task['id']}")
        return answer.body["result_url"] is not None

    await stack.until("the import has ended", ended)
    return task["id"]


async def _campaign(stack: Stack) -> str:
    body = {"name": "Spring", "template": "Hello", "contact_filter": {}}
    return (await made(stack, "/v1/campaigns", body))["id"]


async def _member(stack: Stack) -> str:
    body = {"email": "grace@example.com"}
    return (await made(stack, "/v1/members", body))["id"]


async def _privacy_request(stack: Stack) -> str:
    await stack.send("+14155550177", "Hello")
    body = {"type": "erasure", "subject": {"phone": "+14155550177"}}
    id = (await made(stack, "/v1/privacy/requests", body, 202))["id"]

    async def done() -> bool:  # it takes files of tasks along, and writes while it lasts
        answer = await stack.api("GET", f"/v1/privacy/requests/{id}")
        return answer.body["state"] == "done"

    await stack.until("the erasure is done", done)
    return id


MAKERS: Mapping[str, Maker] = {  # in this order
    "prv": _privacy_request,
    "msg": _message,
    "con": _contact,
    "cnv": _conversation,
    "phn": _phone,
    "key": _key,
    "mem": _member,
    "cmp": _campaign,
    "whk": _endpoint,
    "att": _attempt,
    "pair": _pairing,
    "req": _request,
    "tsk": _task,
}


def body_of(operation: Operation, documented: Mapping[str, Any]) -> Any:
    """A body that would do, from the documentation's examples."""
    content = documented.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    if "example" in content:
        return content["example"]
    return next(iter(content["examples"].values()))["value"]


async def test_no_operation_shows_or_changes_what_belongs_to_another_workspace(
    tmp_path: Path,
) -> None:
    kinds = {prefix for operation in OPERATIONS for prefix in operation.ids.values()}
    assert not kinds - MAKERS.keys(), "say in MAKERS how such an id is made"
    paths = document(OPERATIONS, "https://api.example.com")["paths"]
    async with Stack(tmp_path, env={"EIGHTMS_ERASURE_SETTLE_S": "1"}) as stack:
        stranger = await stack.new_workspace()
        home = await stack.new_workspace()
        await stack.pair(1)
        ids = {prefix: await make(stack) for prefix, make in MAKERS.items() if prefix in kinds}
        await shown_to_their_own(stack, ids)
        before = len(await events_of(stack, home))
        for operation in OPERATIONS:
            if not operation.ids:
                continue
            path = operation.path.format(**{n: ids[p] for n, p in operation.ids.items()})
            documented = paths[operation.path][operation.method.lower()]
            body = body_of(operation, documented)
            answer = await stack.api(operation.method, path, body, key=stranger.key)
            assert (answer.status, answer.body["code"]) == (404, "not_found"), operation.name
        assert len(await events_of(stack, home)) == before
        await shown_to_their_own(stack, ids)


async def shown_to_their_own(stack: Stack, ids: Mapping[str, str]) -> None:
    """The ids are real: to their own workspace every GET shows something."""
    for operation in OPERATIONS:
        if operation.method != "GET" or not operation.ids:
            continue
        path = operation.path.format(**{n: ids[p] for n, p in operation.ids.items()})
        answer = await stack.api("GET", path)
        if answer.status == 503 and answer.body["code"] == "simulator_off":
            continue  # this stack hosts its phones itself
        assert answer.status == 200, (operation.name, answer.status, answer.body)


async def events_of(stack: Stack, workspace: Workspace) -> list[Any]:
    """What the log holds of a workspace, but for what goes on in it by itself."""
    quiet = (
        "phone.", "sms.", "send.dispatched", "send.held", "webhook.attempted", "contact.erased",
        "message.", "privacy.",
    )  # fmt: skip
    return [
        event
        for _, event in await stack.whole_log()
        if event.workspace_id == workspace.id and not event.type.startswith(quiet)
    ]
