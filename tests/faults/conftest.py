"""What fault tests share: the marker of those that take long."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: starts the whole stack and breaks it; takes a while")
