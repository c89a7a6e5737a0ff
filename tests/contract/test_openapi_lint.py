"""The OpenAPI document under a linter: Spectral with its own rules and OWASP's, and no error.

Spectral is an npm package. It is installed once into the user's cache; where npm is missing or does
not answer, the test says so and is skipped.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.api.openapi import document
from services.api.operations import OPERATIONS

RULES = Path(__file__).with_name("openapi_lint.yaml")
PACKAGES = ("@stoplight/spectral-cli@6.16.3", "@stoplight/spectral-owasp-ruleset@2.0.1")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "eightms" / "spectral-6.16"
INSTALL_TIMEOUT_S = 90
LINT_TIMEOUT_S = 100
ERROR = 0


def spectral() -> Path:
    """The program, installed if it is not; skips where it cannot be had."""
    program = CACHE / "node_modules" / ".bin" / "spectral"
    if program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, and Spectral is not in the cache")
    CACHE.mkdir(parents=True, exist_ok=True)
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(CACHE)]
    try:
        done = subprocess.run(
            [npm, "install", *options, *PACKAGES],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not answer within {INSTALL_TIMEOUT_S} s")
    if done.returncode:
        pytest.skip(f"npm does not give Spectral: {done.stderr.strip()[-300:]}")
    return program


@pytest.mark.timeout(INSTALL_TIMEOUT_S + LINT_TIMEOUT_S + 10)
def test_the_linter_finds_no_error(tmp_path: Path) -> None:
    program = spectral()
    served, rules, found = (tmp_path / name for name in ("openapi.json", "rules.yaml", "out.json"))
    served.write_bytes(msgspec.json.encode(document(OPERATIONS, "https://api.example.com")))
    rules.write_text(RULES.read_text())
    (tmp_path / "node_modules").symlink_to(CACHE / "node_modules")
    done = subprocess.run(
        [program, "lint", served, "-r", rules, "-f", "json", "-o", found, "--quiet"],
        capture_output=True,
        text=True,
        timeout=LINT_TIMEOUT_S,
        check=False,
        cwd=tmp_path,
    )
    assert found.exists(), done.stderr
    results: list[dict[str, Any]] = json.loads(found.read_text())
    errors = [
        f"{one['code']}: {one['message']} ({'/'.join(map(str, one['path']))})"
        for one in results
        if one["severity"] == ERROR
    ]
    assert not errors, "\n".join(errors[:40])
