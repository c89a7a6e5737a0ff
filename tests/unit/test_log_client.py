"""Our shorter way of writing to NATS, at the moment the connection goes."""

from typing import Any

import pytest
from nats.aio.client import Client

from shared.log import _Client


class Closing:
    """A transport that was closed, as uvloop's and asyncio's say it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def write(self, _: bytes) -> None:
        raise self._error


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), ConnectionResetError()])
def test_writing_to_a_connection_that_just_closed_is_dropping_it(error: Exception) -> None:
    client: Any = _Client()
    client._status = Client.CONNECTED
    client._transport = Closing(error)
    assert client.put([b"PING\r\n"]) is False
