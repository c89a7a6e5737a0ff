"""Requests that are wrong, and the problems that say so."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pydantic
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from shared import http
from shared.errors import LogUnavailable, NoAnswer, NotReady, Refused
from shared.problems import Problem, unavailable
from shared.telemetry import Metrics


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(max_length=5)
    count: int


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    to: str
    items: list[Item] = []

    @pydantic.field_validator("to")
    @classmethod
    def _some(cls, value: str) -> str:
        if not value.startswith("+"):
            raise ValueError("begins with +")
        return value


def refused(raw: bytes) -> Problem:
    with pytest.raises(Problem) as problem:
        http.parse(Order, raw)
    return problem.value


def test_a_right_body_is_parsed() -> None:
    order = http.parse(Order, b'{"to":"+1","items":[{"name":"a","count":2}]}')
    assert (order.to, order.items[0].count) == ("+1", 2)


@pytest.mark.parametrize("raw", [b"{", b"", b"{'a': 1}", b"\xff", b'{"to": "+1",}'])
def test_what_is_no_json_is_a_400(raw: bytes) -> None:
    problem = refused(raw)
    expected = (422, "invalid_request") if raw == b"" else (400, "malformed_json")
    assert (problem.status, problem.code) == expected


def test_every_wrong_field_is_named_at_once() -> None:
    problem = refused(b'{"items":[{"name":"too long","count":"x"},{"a/b~":1}],"mood":1}')
    assert (problem.status, problem.code) == (422, "invalid_request")
    assert {(one["pointer"], one["code"]) for one in problem.errors} == {
        ("#/to", "missing"),
        ("#/items/0/name", "too_long"),
        ("#/items/0/count", "invalid"),
        ("#/items/1/name", "missing"),
        ("#/items/1/count", "missing"),
        ("#/items/1/a~1b~0", "unknown_field"),
        ("#/mood", "unknown_field"),
    }
    assert problem.detail == problem.errors[0]["detail"]
    assert all(one["detail"].endswith(".") for one in problem.errors)


def test_a_validators_own_words_are_the_sentence() -> None:
    assert refused(b'{"to":"1"}').detail == "to: begins with +"


def test_no_value_is_repeated_in_a_problem() -> None:
    document = refused(b'{"to":"secret words","items":[{"name":"another secret","count":1}]}')
    assert "secret" not in json.dumps(document.document())


def test_a_problem_document_has_what_rfc_9457_wants() -> None:
    problem = Problem.at("#/to", "invalid_number", "That is no phone number.")
    document = problem.document("https://8ms.example", "req_1")
    assert document == {
        "type": "https://8ms.example/problems/invalid_number",
        "title": "Cannot be done",
        "status": 422,
        "code": "invalid_number",
        "detail": "That is no phone number.",
        "request_id": "req_1",
        "errors": [
            {"pointer": "#/to", "code": "invalid_number", "detail": "That is no phone number."}
        ],
    }
    again = Problem.from_document(document)
    assert (again.status, again.code, again.detail, again.errors) == (
        422,
        "invalid_number",
        "That is no phone number.",
        problem.errors,
    )
    assert unavailable("Later.", 7).headers == {"Retry-After": "7"}
    assert Problem.from_document(unavailable("x").document()).headers == {"Retry-After": "1"}


FAILURES: dict[str, Exception] = {
    "problem": Problem(409, "conflict", "No.", headers={"X-A": "b"}, hint="look"),
    "log": LogUnavailable("no acknowledgement"),
    "asked": NoAnswer("scheduler did not answer"),
    "behind": NotReady("rows are old"),
    "database": asyncpg.ConnectionDoesNotExistError("gone"),
    "slow": TimeoutError(),
    "refused": Refused(Problem(404, "not_found", "There is no such phone.").document()),
    "found": web.HTTPNotFound(),
    "bug": RuntimeError("with a secret"),
}


STATE = web.AppKey("STATE", dict[str, Any])


@pytest_asyncio.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    state = {"ready": False, "why": "waiting for NATS"}
    frame = http.Frame(Metrics("api"), "https://8ms.example", lambda: dict(state))
    app = http.make_app(frame)

    async def fail(request: web.Request) -> web.Response:
        raise FAILURES[request.match_info["how"]]

    async def echo(request: web.Request) -> web.Response:
        return http.json_response({"got": (await http.read_body(request)).decode()}, 201)

    app.router.add_get("/fail/{how}", fail)
    app.router.add_post("/echo", echo)
    app[STATE] = state
    async with TestClient(TestServer(app)) as made:
        yield made


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("problem", 409, "conflict"),
        ("log", 503, "unavailable"),
        ("asked", 503, "unavailable"),
        ("behind", 503, "unavailable"),
        ("database", 503, "unavailable"),
        ("slow", 503, "unavailable"),
        ("refused", 404, "not_found"),
        ("found", 404, "not_found"),
        ("bug", 500, "internal_error"),
    ],
)
async def test_every_failure_is_a_problem_with_the_requests_id(
    client: TestClient[Any, Any], how: str, status: int, code: str
) -> None:
    response = await client.get(f"/fail/{how}")
    document = await response.json(content_type="application/problem+json")
    assert (response.status, document["code"]) == (status, code)
    assert document["request_id"] == response.headers["X-Request-Id"]
    assert document["type"] == f"https://8ms.example/problems/{code}"
    assert ("Retry-After" in response.headers) == (status == 503)
    assert "secret" not in json.dumps(document)
    if how == "problem":
        assert (document["hint"], response.headers["X-A"]) == ("look", "b")


async def test_the_frameworks_own_refusals_are_problems_too(
    client: TestClient[Any, Any],
) -> None:
    for method, path, status, code in (
        ("GET", "/nothing/here", 404, "not_found"),
        ("DELETE", "/echo", 405, "method_not_allowed"),
    ):
        response = await client.request(method, path)
        document = await response.json(content_type="application/problem+json")
        assert (response.status, document["code"]) == (status, code)
    response = await client.post("/echo", data="a=b", headers={"Content-Type": "text/plain"})
    assert response.status == 415
    response = await client.post("/echo", json={"a": 1})
    assert (response.status, await response.json()) == (201, {"got": '{"a": 1}'})


async def test_health_readiness_and_metrics(client: TestClient[Any, Any]) -> None:
    assert (await client.get("/healthz")).status == 200
    response = await client.get("/readyz")
    assert response.status == 503
    assert (await response.json())["why"] == "waiting for NATS"
    client.app[STATE]["ready"] = True
    assert (await client.get("/readyz")).status == 200
    await client.get("/fail/bug")
    text = await (await client.get("/metrics")).text()
    series = 'eightms_http_requests_total{service="api",route="/fail/{how}",status="500"} 1'
    assert series in text
    assert 'route="unmatched"' not in text


async def test_before_a_service_is_up_everything_else_is_not_available() -> None:
    why = "waiting for PostgreSQL"
    frame = http.Frame(Metrics("api"), "", lambda: {"ready": False, "why": why})
    async with TestClient(TestServer(http.waiting_app(frame))) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 503
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            response = await client.request(method, "/v1/anything/at/all", data=b"x" * 1000)
            assert (response.status, response.headers["Retry-After"]) == (503, "1")
            document = await response.json(content_type="application/problem+json")
            assert why in document["detail"]
