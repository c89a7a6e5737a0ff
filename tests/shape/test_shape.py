"""The shape of the code: what a reader may rely on in every service (ARCHITECTURE.md, STYLE.md)."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from shared import events
from shared.sql import queries
from tests.examples import EXAMPLES
from tests.shape.golden_files import FOLDER, path_of

ROOT = Path(__file__).parents[2]
SERVICES = sorted(p.name for p in (ROOT / "services").iterdir() if (p / "__init__.py").exists())
CODE = sorted(
    p for top in ("shared", "services", "cli", "clients") for p in (ROOT / top).rglob("*.py")
)
MAIN_LINES_MAX = 30
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_inner_shape(service: str) -> None:
    folder = ROOT / "services" / service
    assert (folder / "__main__.py").exists()
    for name in ("queries.sql", "decide.py"):  # or a folder of them, where there are many
        assert (folder / name).exists() or (folder / name.split(".")[0]).is_dir(), name
    assert any((folder / "schema").glob("0*.sql"))
    assert (folder / "project.py").exists() or (folder / "project" / "__init__.py").exists()
    docstring = ast.get_docstring(tree(folder / "__init__.py")) or ""
    for word in ("In", "Out", "Tables"):
        assert re.search(rf"^{word}\b", docstring, re.MULTILINE), f"{word}: is not said"
    assert len((folder / "__main__.py").read_text().splitlines()) < MAIN_LINES_MAX


@pytest.mark.parametrize(
    "path",
    [
        path
        for kind in ("decide.py", "decide/*.py", "policy.py")
        for path in sorted(ROOT.glob(f"services/*/{kind}"))
    ],
)
def test_decisions_are_pure(path: Path) -> None:
    asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [n for n in ast.walk(tree(path)) if isinstance(n, asynchronous)]
    top = {name.split(".")[0] for name in imports(path)}
    assert not top & {"aiohttp", "asyncpg", "nats", "httpx", "asyncio", "random", "secrets"}
    calls = [ast.unparse(n.func) for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
    assert not [c for c in calls if c in ("datetime.now", "datetime.utcnow", "time.time")]


def test_only_the_log_knows_nats() -> None:
    users = [p for p in CODE if any(i.split(".")[0] == "nats" for i in imports(p))]
    assert [str(p.relative_to(ROOT)) for p in users] == ["shared/log.py"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_statement_is_used_and_every_used_one_exists(service: str) -> None:
    named = set(vars(queries(f"services.{service}")))
    text = "\n".join(p.read_text() for p in (ROOT / "services" / service).rglob("*.py"))
    used = set(re.findall(r"(?:_?sql|statements)\.(\w+)", text))
    assert not {n for n in named if not re.search(rf"\.{n}\b|[\"']{n}[\"']", text)}
    module_names = {"queries", "Database", "UNREACHABLE", "migrate"}
    assert not {n for n in used - named - module_names if not n.isupper() and n[0].islower()}


def test_every_event_has_an_example_and_a_golden_file() -> None:
    assert {e.type for e in EXAMPLES.values()} == {cls.TYPE for cls in events.ALL}
    for example in EXAMPLES.values():
        assert path_of(example).exists(), f"python -m tests.shape.golden_files: {example.type}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.name)
def test_every_event_ever_written_still_decodes(path: Path) -> None:
    event = events.decode(path.read_bytes())
    assert event.type == path.name.split(".v", maxsplit=1)[0]
    again = json.loads(events.encode(event))
    for name, value in json.loads(path.read_text())["data"].items():
        assert again["data"][name] == value, name


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=lambda e: e.type)
def test_every_event_survives_the_way_through_the_log(example: events.Event) -> None:
    assert events.decode(events.encode(example)) == example
    entity, verb, workspace, key = example.subject.split(".")
    assert f"{entity}.{verb}" == example.type
    assert (workspace, key) == (example.workspace_id, example.data.key)


def test_the_repository_speaks_of_itself_alone() -> None:
    forbidden = re.compile(
        r"/work/|files\.pythonhosted|pypi\.org/simple|registry\.npmjs", re.IGNORECASE
    )
    guilty: list[str] = []
    for name in TRACKED:
        path = ROOT / name
        if name == "tests/shape/test_shape.py" or not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if forbidden.search(text):
            guilty.append(name)
    assert not guilty
