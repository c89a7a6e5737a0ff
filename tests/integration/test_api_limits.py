"""Rate limits on every answer, the list of limits, and the log of requests."""

from typing import Any

from cli.embedded import NatsServer
from tests.api import Answer, ApiWorld


async def test_every_answer_tells_the_limits_and_what_is_left(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        for path, key, name in (
            ("/v1/workspace", None, "key"),
            ("/v1/messages/msg_nothing", None, "key"),
            ("/v1/workspace?x=1", None, "key"),
            ("/v1/workspace", "", "address"),
            ("/v1/workspace", "8ms_live_wrong", "address"),
            ("/v1/nothing", "", "address"),
            ("/v1/openapi.json", "", "address"),
        ):
            answer = await world.get(path, key=key)
            assert answer.headers["RateLimit"].startswith(f'"{name}";r='), path
            assert answer.headers["RateLimit-Policy"].startswith(f'"{name}";q='), path
        answer = await world.call("PUT", "/v1/workspace")
        assert answer.status == 405
        assert answer.headers["RateLimit"]
        assert "RateLimit" not in (await world.get("/healthz", key="")).headers


async def test_one_too_many_is_refused_before_anything_is_done(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server, rate_key=2.0, rate_workspace=0.0) as world:
        text = {"to": "+14155550100", "body": "Hello"}
        answers = [await world.post("/v1/sms/send", text) for _ in range(12)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        assert {answer.code for answer in refused} == {"rate_limited"}
        assert int(refused[0].headers["Retry-After"]) >= 1
        assert refused[0].headers["RateLimit"] == f'"key";r=0;t={refused[0].headers["Retry-After"]}'
        accepted = [answer for answer in answers if answer.status == 202]
        assert len(await world.events("send.requested")) == len(accepted)
        assert (await world.get("/v1/workspace", key=world.other.key)).status == 200


async def test_the_limits_can_be_looked_at(database_url: str, nats_server: NatsServer) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        found = (await world.get("/v1/limits")).body
        rate = {one["policy"]: one for one in found["rate"]}
        assert rate["key"]["requests"] == 2000
        assert 1990 < rate["key"]["remaining"] < 2000
        assert found["sizes"]["body_bytes"] == 1024 * 1024
        assert found["sending"]["parts_per_minute"] == 24
        assert {"what": "phones", "limit": None, "used": 0} in found["plan"]
        world.silence("scheduler.limits")
        assert (await world.get("/v1/limits")).body["sending"] is None


async def test_a_request_is_found_in_the_log_without_what_it_said(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        key, key_id = await world.new_key(world.home.id)
        sent = await world.post(
            "/v1/sms/send",
            {"to": "+14155550142", "body": "Secret"},
            headers={"Idempotency-Key": "once"},
            key=key,
        )
        again = await world.post(
            "/v1/sms/send",
            {"to": "+14155550142", "body": "Secret"},
            headers={"Idempotency-Key": "once"},
            key=key,
        )
        message_id = sent.body["message"]["id"]
        await world.get(f"/v1/messages/{message_id}")
        wrong = await world.post("/v1/sms/send", {"to": "+1415555", "body": "Secret"})
        await world.get("/v1/contacts?q=14155550142")
        await world.get("/v1/contacts/con_+14155550142")
        await world.get("/v1/workspace", key=world.other.key)
        await world.get("/v1/workspace", key="")

        async def written() -> Answer | None:
            answer = await world.get("/v1/requests?limit=100")
            return answer if len(answer.body["data"]) >= 6 else None

        answer = await world.until(written, "the requests are written")
        assert answer is not None
        for secret in ("Secret", "5550142", "q="):
            assert secret not in answer.text
        paths = [one["path"] for one in answer.body["data"]][-6:]
        assert paths == [
            "/v1/contacts/{contact_id}", "/v1/contacts", "/v1/sms/send",
            f"/v1/messages/{message_id}", "/v1/sms/send", "/v1/sms/send",
        ]  # fmt: skip

        async def one(answer: Answer) -> Any:
            found = await world.get(f"/v1/requests/{answer.headers['X-Request-Id']}")
            assert found.status == 200
            return found.body

        refused = await one(wrong)
        assert (refused["status"], refused["code"]) == (422, "invalid_number")
        assert refused["network"] == "127.0.0.0/24"
        assert refused["operation"] == "sms.send"
        replayed = await one(again)
        assert replayed["replayed"]
        assert replayed["actor"] == {"kind": "api_key", "id": key_id}
        id = sent.headers["X-Request-Id"]
        assert (await world.get(f"/v1/requests/{id}", key=world.other.key)).status == 404

        async def count(query: str) -> int:
            return len((await world.get(f"/v1/requests?{query}")).body["data"])

        assert await count("status=422") == 1
        assert await count("status=4xx") == 2
        assert await count("status=202&path=/v1/sms/send") == 2
        assert await count(f"actor={key_id}") == 2
        assert await count("method=POST") == 3
        assert (await world.get("/v1/requests?status=7xx")).status == 422
        home, other = world.home.id, world.other.id
        kept = await world.rows("SELECT workspace_id FROM vault_request")
        assert {row["workspace_id"] for row in kept} == {home, other}


async def test_the_log_is_forgotten_after_its_days(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server, requests_kept_days=3) as world:
        await world.get("/v1/workspace")
        log = world.instances[0].context.extra["api"].answering.access
        await log.write()
        assert await world.rows("SELECT FROM vault_request")
        sql: Any = world.instances[0].context.extra["api"].sql
        now = world.clock.now()
        from datetime import timedelta

        owner = world.instances[0].context.db.owner
        await owner.execute(sql.forget_requests, now - timedelta(days=3), 10)
        assert await world.rows("SELECT FROM vault_request")
        await owner.execute(sql.forget_requests, now, 10)
        assert not await world.rows("SELECT FROM vault_request")
