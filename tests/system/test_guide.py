"""docs/guide.md does what it says: its commands, one after the other, against `eightms up`."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.system.test_up import ROOT, Up, free_base

pytestmark = [pytest.mark.timeout(300)]

GUIDE = ROOT / "docs" / "guide.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 200.0
NEEDED = ("bash", "curl", "jq")


def script() -> str:
    """Every command of the guide, each block announced."""
    blocks = BLOCK.findall(GUIDE.read_text())
    assert len(blocks) > 10
    return "set -euo pipefail\n" + "".join(
        f"echo '## block {n}'\n{block}" for n, block in enumerate(blocks, 1)
    )


async def run(commands: str, directory: Path, api: str) -> tuple[int, str]:
    """The exit code and the output of ``commands``; what they left running is ended."""
    output = directory / "said.txt"  # a pipe would be kept open by what runs in the background
    with output.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", commands,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "HOME": str(directory), "API": api},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        return -1, f"{output.read_text()}\n(too slow)"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode or 0, output.read_text()


async def test_every_command_of_the_guide_does_what_the_guide_says(tmp_path: Path) -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    data = tmp_path / ".data"  # where the command line looks
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    base = free_base()
    up = Up(data, base)
    try:
        await up.greeted()
        api = f"http://127.0.0.1:{base}"
        code, said = await run(script(), tmp_path, api)
    finally:
        if up.process.poll() is None:
            await up.stop()
    assert code == 0, said
    assert "Hi Grace, your check-up is due." in said
    assert '"state": "completed"' in said
    assert '"delivered": 3' in said
    assert "Yes, please!" in said
    assert "recipient_opted_out" in said
    assert re.search(r"\d+ sms\.delivered", said)
    assert re.search(r"^event: (sms|reply)\.|^id: ", said, re.MULTILINE)
