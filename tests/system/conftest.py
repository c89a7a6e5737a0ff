"""What system tests share: the marker of those that take long, and a stack of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stack import Stack


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: starts the whole stack; takes a while")
    config.addinivalue_line("markers", "stack(**options): what the fixture `stack` is made with")


@pytest_asyncio.fixture
async def stack(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    """The whole stack; ``pytest.mark.stack(env=…)`` sets what it runs with."""
    marker = request.node.get_closest_marker("stack")
    async with Stack(tmp_path, **(marker.kwargs if marker else {})) as running:
        yield running
        assert running.complaints() == []
