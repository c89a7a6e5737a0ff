"""The API does what its OpenAPI document says: Schemathesis tries it, with all its checks.

A finding is reproduced with the curl line in the output against `make run`.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
from aiohttp import ClientSession

from cli.embedded import NatsServer
from services.api.catalogue import CATALOGUE
from services.api.openapi import codes, document
from services.api.operations import OPERATIONS
from shared import events as e
from shared import ids
from tests.api import ApiWorld, FakeSimulator

ROOT = Path(__file__).parents[2]
EXAMPLES_MAX = 4  # of the fuzzing and of the stateful phase, for each operation
CONFIG = """
# What is well formed may still be no number, or name a phone that is not there: 422. That it is
# not refused as malformed is a check of our own (openapi_hooks.py).
[checks]
enabled = true
positive_data_acceptance.enabled = true
positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422, 503]

# Each text of a bulk request is judged by itself; the call is accepted.
[[operations]]
include-operation-id = "sms.send_bulk"
checks.negative_data_rejection.enabled = false

# A form's parts are bytes: a number where a file should be is a file with a digit in it.
[[operations]]
include-operation-id = "contacts.import"
checks.negative_data_rejection.enabled = false

# Its answer does not end: tests/integration/test_api_events.py listens to it.
[[operations]]
include-operation-id = "events.stream"
enabled = false
"""


async def test_the_served_api_is_the_documented_one(
    database_url: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    simulator = FakeSimulator()
    async with (
        simulator.serve() as simulator_url,
        ApiWorld(database_url, nats_server, simulator_url=simulator_url) as world,
    ):
        simulator.world = world
        await populate(world)
        url = world.instances[0].url
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli",
            "--config-file", str(config),
            "run", f"{url}/v1/openapi.json", "--url", url,
            "--header", f"Authorization: Bearer {world.home.key}",
            "--max-examples", str(EXAMPLES_MAX),
            "--seed", "1", "--workers", "1", "--generation-database", "none", "--no-color",
            cwd=ROOT,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract.openapi_hooks"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-20_000:]


async def populate(world: ApiWorld) -> None:
    """Something of every kind, so that there is something to look at."""
    message = await world.send()
    contact_id = message["contact_id"]
    reply = e.ReplyReceived(
        message_id=ids.new("msg"),
        contact_id=contact_id,
        conversation_id=message["conversation_id"],
        phone_id=world.home.phone_id,
        sender=message["to"],
        sender_kind="number",
        body="Yes",
        parts=1,
        received_at=world.clock.now(),
    )
    await world.append(reply)
    await world.post("/v1/webhooks", {"url": "https://example.com/hook", "types": ["*"]})


def test_every_code_that_can_be_answered_has_a_page() -> None:
    for operation in OPERATIONS:
        for code in codes(operation):
            assert code in CATALOGUE, (operation.name, code)


def test_the_document_is_complete() -> None:
    made: dict[str, Any] = document(OPERATIONS, "https://api.example.com")
    names = set[str]()
    for methods in made["paths"].values():
        for operation in methods.values():
            assert operation["operationId"] not in names
            names.add(operation["operationId"])
            assert operation["summary"]
            assert operation["description"]
            assert {"401", "403", "405", "422", "500", "503"} <= set(operation["responses"])
            (tag,) = operation["tags"]
            assert tag in {entry["name"] for entry in made["tags"]}
    assert len(names) == len(OPERATIONS)
    text = msgspec.json.encode(made).decode()
    for schema in made["components"]["schemas"]:
        assert f"#/components/schemas/{schema}" in text, schema
    for operation in OPERATIONS:
        if operation.request is not None:
            schema = made["components"]["schemas"][operation.request.__name__]
            assert schema["additionalProperties"] is False
            for example in schema.get("examples", ()):
                assert set(example) <= set(schema["properties"])


def test_every_operation_has_examples_that_fit_their_schemas() -> None:
    made: dict[str, Any] = document(OPERATIONS, "https://api.example.com")

    def check(schema: dict[str, Any], value: Any, where: str) -> None:
        whole = {**schema, "components": made["components"]}
        found = jsonschema_rs.Draft202012Validator(whole).iter_errors(value)
        assert not [f"{error.instance_path}: {error.message}" for error in found], where

    for methods in made["paths"].values():
        for operation in methods.values():
            name = operation["operationId"]
            for parameter in operation["parameters"]:
                check(parameter["schema"], parameter["example"], f"{name} {parameter['name']}")
            bodies = [operation["requestBody"]] if "requestBody" in operation else []
            for body in [*bodies, *operation["responses"].values()]:
                for content in body.get("content", {}).values():
                    given = content.get("examples") or {"": {"value": content["example"]}}
                    for example in given.values():
                        check(content["schema"], example["value"], name)
            assert "429" in operation["responses"]
    assert {"sms.delivered", "reply.received"} <= set(made["webhooks"])


async def test_the_document_can_be_read_by_a_browser_elsewhere(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world, ClientSession() as http:
        url = world.instances[0].url + "/v1/openapi.json"
        async with http.get(url, headers={"Origin": "https://docs.example.com"}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
