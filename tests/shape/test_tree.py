"""The tree tells the story: who knows one service knows all, and no file hides what it is for."""

from __future__ import annotations

import ast
import re
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.shape.test_shape import CODE, ROOT, SERVICES, TRACKED, imports, tree

# The same names everywhere, absent where there is nothing to say. Each may be a folder.
COMMON = {
    "__init__", "__main__", "settings", "decide", "project", "act", "routes", "answers", "outside",
}  # fmt: skip
FOLDERS = {"schema", "vault"}
# What is that service's own. A new file is named here, so that somebody asks whether it must be.
OWN: dict[str, set[str]] = {
    "api": {
        "access", "answering", "api", "audience", "billing", "bounds", "callers", "catalogue",
        "dispatch", "erasure", "examples", "feed", "finding", "gather", "hinted", "idempotency",
        "limits", "live", "openapi", "operation", "operations", "page", "paging", "postman",
        "reading", "reference", "report", "search", "serve", "shapes", "sheets", "sign_in",
        "simulator", "tasks", "users", "validation", "words",
    },
    "gateway": {
        "codes", "credentials", "entries", "facts", "frames", "instance", "journal", "pairing",
        "presence", "standing", "stream",
    },
    "ghl_sync": set(),
    "inbound": {"classify", "optout", "texts"},
    "scheduler": {
        "desk", "feed", "fleet", "flights", "forecast", "hours", "policy", "queues", "record",
        "shelf", "words",
    },
    "webhooks": {"address", "secrets", "shapes", "sign", "tables"},
}  # fmt: skip
VAGUE = {"common", "core", "helper", "helpers", "lib", "manager", "misc", "stuff", "util",
         "utils"}  # fmt: skip
FILE_LINES_MAX = 480  # 400 is the wish; who needs more than this has two subjects
LONGER = {"shared/log.py": 580}  # nobody else may import nats
FUNCTION_LINES_MAX = 70

# Words of a workplace, not of the project, as BLAKE2 hashes: the list itself must not name them.
FOREIGN = {
    "0ae36a7939ac0be1",
    "205c32d9309e2b52",
    "2191ebe32eb92003",
    "3f5e3a3766bd5d91",
    "5974bbd4ae7ea27b",
    "69b17f0cd6b461f7",
    "707f7e3f911fd2b1",
    "746b1fecd8af744b",
    "82ed5c003b2d013b",
    "97e7bc82990b651d",
    "9d65b3ee38d61db5",
    "c348ce07d2484bb3",
    "d231f0786aea9e97",
    "de2182aae5a2a457",
    "e20bb686eada8b59",
}


def modules() -> list[Path]:
    return [p for p in CODE if "__pycache__" not in p.parts]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_common_files_and_its_own(service: str) -> None:
    folder = ROOT / "services" / service
    for path in folder.iterdir():
        if path.name == "__pycache__":
            continue
        if path.is_dir() and path.name in FOLDERS:
            assert all(re.fullmatch(r"\d{3}_\w+\.sql", f.name) for f in path.iterdir()), path
        elif path.is_dir() and path.name == "queries":
            assert all(re.fullmatch(r"\w+\.sql", f.name) for f in path.iterdir()), path
        elif path.suffix == ".sql":
            assert path.name == "queries.sql"
        elif path.is_dir() or path.suffix == ".py":
            assert path.stem in COMMON | OWN[service], f"{path}: say in OWN what it is for"
        else:
            assert path.suffix in (".html", ".css", ".js", ".json", ".md"), path


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_shared_and_never_another(service: str) -> None:
    for path in (ROOT / "services" / service).rglob("*.py"):
        for name in imports(path):
            top, _, rest = name.partition(".")
            assert top not in ("cli", "clients", "tests"), path
            assert top != "services" or rest.split(".")[0] == service, path


def test_shared_knows_nobody() -> None:
    for path in (ROOT / "shared").rglob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & {"services", "cli", "clients"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_it_is_for_and_has_one_subject(path: Path) -> None:
    parsed = tree(path)
    assert ast.get_docstring(parsed), "no docstring"
    assert not set(path.relative_to(ROOT).with_suffix("").parts) & VAGUE
    lines_max = LONGER.get(str(path.relative_to(ROOT)), FILE_LINES_MAX)
    assert len(path.read_text().splitlines()) <= lines_max
    for node in ast.walk(parsed):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"


def test_only_the_command_line_prints() -> None:
    for path in modules():
        if path.relative_to(ROOT).parts[0] in ("cli", "clients"):
            continue
        calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c, ast.Name) and c.id == "print"], path


def test_importing_a_module_does_nothing() -> None:
    """No module-level state: what a module assigns at its top is a constant, a type or a table."""
    for path in modules():
        for node in tree(path).body:
            if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
                pytest.fail(f"{path}:{node.lineno} runs when it is imported")


@pytest.mark.parametrize("path", [p for p in modules() if p.name in ("decide.py", "policy.py")])
def test_what_decisions_import_is_pure_too(path: Path) -> None:
    """Whatever of ours a decision imports does no input or output either, all the way down."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        for name in imports(here):
            assert name.split(".")[0] not in IO, f"{path.parent.name}: {here.name} imports {name}"
            todo += _ours(name)


IO = {"aiohttp", "asyncio", "asyncpg", "httpx", "nats", "random", "secrets", "socket", "stripe",
      "structlog", "subprocess", "urllib"}  # fmt: skip
# Ids can be made from chance as well, which a decision passes in; of logs a decision takes scrub.
PURE_IN_PART = {"shared.ids", "shared.logs"}


def _ours(name: str) -> list[Path]:
    if name in PURE_IN_PART or name.split(".", maxsplit=1)[0] not in ("shared", "services"):
        return []
    base = ROOT.joinpath(*name.split("."))
    return [p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()]


def test_no_word_of_a_workplace_is_in_the_repository() -> None:
    guilty: dict[str, set[str]] = {}
    for name in TRACKED:
        path = ROOT / name
        if not path.is_file() or path.suffix in (".lock", ".png", ".jar", ".ttf", ".woff2"):
            continue
        text = path.read_bytes().decode("utf-8", "replace").lower()
        words = set(re.findall(r"[a-z][a-z0-9]*(?:[-.][a-z0-9]+)*", text))
        found = {word for word in words if _hash(word) in FOREIGN}
        if found:
            guilty[name] = found
    assert not guilty


def _hash(word: str) -> str:
    return blake2b(word.encode(), digest_size=8).hexdigest()
