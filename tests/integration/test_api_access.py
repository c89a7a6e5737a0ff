"""Who may call: keys, scopes, other workspaces, and what a revocation does everywhere at once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from cli.embedded import NatsServer
from services.api import serve
from services.api.operations import OPERATIONS
from shared import auth, ids
from tests.api import ApiWorld

WISH = {"to": "+14155550100", "body": "Hello"}


@pytest_asyncio.fixture
async def world(database_url: str, nats_server: NatsServer) -> AsyncIterator[ApiWorld]:
    async with ApiWorld(database_url, nats_server, instances=2) as world:
        yield world


def path_of(operation: Any) -> str:
    return operation.path.format(
        **{name: ids.derive(prefix, "nobody") for name, prefix in operation.ids.items()}
    )


async def test_every_operation_needs_a_key_with_its_scope(world: ApiWorld) -> None:
    assert len(OPERATIONS) > 40
    for operation in OPERATIONS:
        path = path_of(operation)
        answer = await world.call(operation.method, path, key="")
        assert (answer.status, answer.code) == (401, "unauthorized"), operation.name
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if operation.scope is None:
            continue  # which one it needs depends on what it is about: tests/integration has each
        others = sorted(auth.SCOPES - {operation.scope, "*"})
        key, _ = await world.new_key(world.home.id, *others)
        answer = await world.call(operation.method, path, key=key)
        assert (answer.status, answer.code) == (403, "missing_scope"), operation.name
        assert answer.body["required_scope"] == operation.scope


@pytest.mark.parametrize(
    "header",
    [
        "Bearer nonsense",
        "Basic dXNlcjpwYXNz",
        "Bearer " + "8ms_live_" + "0" * 38,
        "Bearer",
        "Bearer 8ms_live_\xff",
    ],
)
async def test_what_is_no_key_is_refused_without_a_look_up(world: ApiWorld, header: str) -> None:
    answer = await world.get("/v1/phones", headers={"Authorization": header}, key="")
    assert (answer.status, answer.code) == (401, "invalid_api_key")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_an_unknown_and_an_expired_key_are_refused(world: ApiWorld) -> None:
    unknown = await world.get("/v1/phones", key=auth.new_api_key("live").text)
    assert (unknown.status, unknown.code) == (401, "invalid_api_key")
    until = world.clock.now() + timedelta(hours=1)
    key, _ = await world.new_key(world.home.id, expires_at=until)
    assert (await world.get("/v1/phones", key=key)).status == 200
    world.clock.ahead = timedelta(hours=2)
    expired = await world.get("/v1/phones", key=key)
    assert (expired.status, expired.code) == (401, "expired_api_key")


async def test_a_revoked_key_is_dead_on_every_instance_at_once(world: ApiWorld) -> None:
    key, key_id = await world.new_key(world.home.id)
    for instance in (0, 1):
        assert (await world.get("/v1/phones", key=key, instance=instance)).status == 200
    assert (await world.delete(f"/v1/api-keys/{key_id}")).status == 204
    assert (await world.get("/v1/phones", key=key)).status == 401

    async def refused() -> bool:
        return (await world.get("/v1/phones", key=key, instance=1)).status == 401

    await world.until(refused, "the other instance refuses it too")
    assert (await world.delete(f"/v1/api-keys/{key_id}")).status == 404


async def test_a_revocation_that_was_missed_is_noticed_with_the_connection(
    world: ApiWorld, nats_server: NatsServer
) -> None:
    api = world.instances[0].context.extra[serve.API]
    assert (await world.get("/v1/phones")).status == 200
    assert api.callers.keys.known(auth.hash_key(world.home.key)) is not None
    nats_server.kill()
    await nats_server.start()

    async def forgotten() -> bool:
        return api.callers.keys.known(auth.hash_key(world.home.key)) is None

    await world.until(forgotten, "a reconnect forgets what may have changed")


async def test_a_key_is_made_shown_once_listed_and_used(world: ApiWorld) -> None:
    body = {"name": "Bookings", "mode": "test", "scopes": ["messages:write", "phones:read"]}
    made = await world.post("/v1/api-keys", body)
    assert made.status == 201
    key = made.body.pop("key")
    assert auth.check_format(key) == "test"
    assert key.endswith(made.body["last_four"])
    assert (await world.get("/v1/phones", key=key)).status == 200
    assert (await world.get("/v1/webhooks", key=key)).status == 403
    api = world.instances[0].context.extra[serve.API]
    await api.callers.save_uses()
    listed = await world.get("/v1/api-keys")
    (shown,) = [entry for entry in listed.body["data"] if entry["id"] == made.body["id"]]
    assert made.body.pop("last_used_at") is None
    assert shown.pop("last_used_at") is not None
    assert shown == made.body
    assert key not in listed.text
    events = await world.events("api_key.created")
    assert key not in str(events)


async def test_a_key_cannot_give_more_than_it_has(world: ApiWorld) -> None:
    key, _ = await world.new_key(world.home.id, "keys:write", "phones:read")
    body = {"name": "x", "scopes": ["phones:read", "messages:write", "*"]}
    answer = await world.post("/v1/api-keys", body, key=key)
    assert (answer.status, answer.code) == (403, "scope_exceeded")
    assert answer.pointers == {"#/scopes/1", "#/scopes/2"}
    test_key, _ = await world.new_key(world.home.id, mode="test")
    live = {"name": "x", "mode": "live", "scopes": ["phones:read"]}
    answer = await world.post("/v1/api-keys", live, key=test_key)
    assert (answer.status, answer.pointers) == (403, {"#/mode"})
    past = {"name": "x", "scopes": ["phones:read"], "expires_at": "2020-01-01T00:00:00Z"}
    answer = await world.post("/v1/api-keys", past)
    assert (answer.status, answer.pointers) == (422, {"#/expires_at"})


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["*"]}, "#/name"),
        ({"name": " ", "scopes": ["*"]}, "#/name"),
        ({"name": "x", "scopes": []}, "#/scopes"),
        ({"name": "x", "scopes": ["all"]}, "#/scopes/0"),
        ({"name": "x", "scopes": ["*"], "mode": "prod"}, "#/mode"),
        ({"name": "x", "scopes": ["*"], "expires_at": "soon"}, "#/expires_at"),
        ({"name": "x", "scopes": ["*"], "key": "mine"}, "#/key"),
    ],
)
async def test_a_key_request_that_is_wrong_says_where(
    world: ApiWorld, body: Any, pointer: str
) -> None:
    answer = await world.post("/v1/api-keys", body)
    assert (answer.status, answer.pointers) == (422, {pointer})


async def test_what_belongs_to_another_workspace_is_not_found(world: ApiWorld) -> None:
    message = await world.send()
    endpoint = await world.post(
        "/v1/webhooks", {"url": "https://example.com/h", "types": ["sms.sent"]}
    )
    paths = [
        f"/v1/messages/{message['id']}",
        f"/v1/messages/{message['id']}/timeline",
        f"/v1/contacts/{message['contact_id']}",
        f"/v1/conversations/{message['conversation_id']}",
        f"/v1/conversations/{message['conversation_id']}/messages",
        f"/v1/phones/{world.home.phone_id}",
        f"/v1/phones/{world.home.phone_id}/health",
        f"/v1/webhooks/{endpoint.body['id']}",
        f"/v1/webhooks/{endpoint.body['id']}/attempts",
    ]
    for path in paths:
        assert (await world.get(path)).status == 200, path
        foreign = await world.get(path, key=world.other.key)
        assert (foreign.status, foreign.code) == (404, "not_found"), path
    writes: list[tuple[str, str, Any]] = [
        ("POST", f"/v1/messages/{message['id']}/cancel", None),
        ("PATCH", f"/v1/contacts/{message['contact_id']}", {"first_name": "X"}),
        ("POST", f"/v1/contacts/{message['contact_id']}/opt-out", None),
        ("POST", f"/v1/conversations/{message['conversation_id']}/read", None),
        ("PATCH", f"/v1/phones/{world.home.phone_id}", {"label": "X"}),
        ("DELETE", f"/v1/phones/{world.home.phone_id}", None),
        ("PATCH", f"/v1/webhooks/{endpoint.body['id']}", {"enabled": False}),
        ("DELETE", f"/v1/webhooks/{endpoint.body['id']}", None),
        ("DELETE", f"/v1/api-keys/{world.home.key_id}", None),
    ]
    before = len(await world.events())
    for method, path, body in writes:
        foreign = await world.call(method, path, body, key=world.other.key)
        assert (foreign.status, foreign.code) == (404, "not_found"), path
    assert len(await world.events()) == before
    for path in ("/v1/messages", "/v1/contacts", "/v1/conversations", "/v1/webhooks"):
        assert (await world.get(path)).body["data"], path
        assert (await world.get(path, key=world.other.key)).body["data"] == [], path


async def test_ids_of_the_wrong_form_are_not_found(world: ApiWorld) -> None:
    for operation in OPERATIONS:
        if operation.ids:
            path = operation.path.format(**dict.fromkeys(operation.ids, "x'%20OR%201=1"))
            answer = await world.call(operation.method, path)
            assert (answer.status, answer.code) == (404, "not_found"), operation.name


async def test_unknown_paths_methods_and_parameters_are_problems(world: ApiWorld) -> None:
    nowhere = await world.get("/v1/nowhere")
    assert (nowhere.status, nowhere.code) == (404, "not_found")
    method = await world.call("PUT", "/v1/messages")
    assert (method.status, method.code) == (405, "method_not_allowed")
    assert "GET" in method.headers["Allow"]
    for path in ("/v1/messages", "/v1/contacts", "/v1/phones", "/v1/workspace"):
        unknown = await world.get(path + "?colour=red")
        assert unknown.status == 422, path
        assert unknown.body["errors"][-1]["parameter"] == "colour"
        assert "#/colour" in unknown.pointers


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=1_0", "limit"),
        ("limit=5&limit=6", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=", "cursor"),
        ("state=lost", "state"),
        ("direction=up", "direction"),
        ("contact_id=me", "contact_id"),
        ("phone_id=con_00000000000000000000000000", "phone_id"),
    ],
)
async def test_a_wrong_parameter_is_named(world: ApiWorld, query: str, parameter: str) -> None:
    answer = await world.get(f"/v1/messages?{query}")
    assert answer.status == 422
    assert [entry["parameter"] for entry in answer.body["errors"]] == [parameter]
    assert answer.pointers == {f"#/{parameter}"}
