"""PostgreSQL crashes and loses the last moments: which keys were used, and rows not yet on disk.
What the log holds it holds, and the same request does not put it there again."""

from cli.embedded import NatsServer
from tests.api import ApiWorld

LOST_KEYS = "DELETE FROM api_vault.vault_idempotency RETURNING 1"
LOST_ROWS = "DELETE FROM api.message RETURNING 1"
WISH = {"to": "+14155550100", "body": "Hello"}


async def test_a_send_whose_key_and_row_were_lost_is_in_the_log_once(
    database_url: str, nats_server: NatsServer
) -> None:
    async with ApiWorld(database_url, nats_server) as world:
        first = await world.post("/v1/sms/send", WISH, headers={"Idempotency-Key": "k"})
        assert first.status == 202, first.body
        await world.passed()
        assert await world.rows(LOST_KEYS)
        assert await world.rows(LOST_ROWS)
        again = await world.post("/v1/sms/send", WISH, headers={"Idempotency-Key": "k"})
        assert again.status == 202, again.body
        assert again.body["message"]["id"] == first.body["message"]["id"]
        assert len(await world.events("send.requested")) == 1


async def test_a_bulk_send_whose_key_and_rows_were_lost_is_in_the_log_once(
    database_url: str, nats_server: NatsServer
) -> None:
    wishes = {"messages": [{**WISH, "body": f"number {n}"} for n in range(5)]}
    async with ApiWorld(database_url, nats_server) as world:
        first = await world.post("/v1/sms/send/bulk", wishes, headers={"Idempotency-Key": "k"})
        await world.passed()
        assert await world.rows(LOST_KEYS)
        assert await world.rows(LOST_ROWS)
        again = await world.post("/v1/sms/send/bulk", wishes, headers={"Idempotency-Key": "k"})
        assert again.body["accepted"] == first.body["accepted"] == len(wishes["messages"])
        assert len(await world.events("send.requested")) == len(wishes["messages"])
