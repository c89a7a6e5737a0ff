"""Our headers, unchanged, in the hands of the libraries that our customers use to check them."""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import standardwebhooks
import svix

from services.webhooks import sign

ROOT = Path(__file__).resolve().parents[2]
EVENT = "evt_01M84KWEEHWZ1A8XXJDESW8HWJ"
BODY = json.dumps(
    {"id": EVENT, "type": "sms.delivered", "data": {"body": "Grüße 👋 </script>\u2028"}},
    ensure_ascii=False,
).encode()

# Reads cases from stdin, answers for each library whether it accepted the case.
NODE_SCRIPT = """
const load = require("module").createRequire(process.argv[1] + "/");
const libraries = {standardwebhooks: load("standardwebhooks").Webhook, svix: load("svix").Webhook};
const crypto = require("crypto");
const accepted = (check) => { try { return Boolean(check()); } catch { return false; } };
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(({secret, headers, body}) => ({
  ...Object.fromEntries(Object.entries(libraries).map(
    ([name, Webhook]) => [name, accepted(() => new Webhook(secret).verify(body, headers))])),
  crypto: headers["X-8ms-Signature"].split(",").includes(
    "sha256=" + crypto.createHmac("sha256", secret).update(body).digest("hex")),
}))));
"""


@dataclass(frozen=True)
class Case:
    """One delivery as a receiver has it: the secret it knows, and what arrived."""

    secret: str
    headers: dict[str, str]
    body: bytes
    genuine: bool


def deliveries() -> dict[str, Case]:
    current, old, older, foreign = (sign.new_secret() for _ in range(4))
    now_s = int(time.time())
    alone = sign.headers([current], EVENT, now_s, BODY)
    rotated = sign.headers([current, old, older], EVENT, now_s, BODY)
    return {
        "one secret": Case(current, alone, BODY, True),
        "rotated, receiver has the current secret": Case(current, rotated, BODY, True),
        "rotated, receiver has the old secret": Case(old, rotated, BODY, True),
        "rotated, receiver has the oldest secret": Case(older, rotated, BODY, True),
        "another endpoint's secret": Case(foreign, rotated, BODY, False),
        "changed body": Case(current, alone, BODY.replace(b"sms", b"SMS"), False),
    }


CASES = deliveries()
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every_case
def test_the_python_standardwebhooks_library_agrees(case: Case) -> None:
    receiver = standardwebhooks.Webhook(case.secret)
    if case.genuine:
        assert receiver.verify(case.body, case.headers) == json.loads(case.body)
    else:
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            receiver.verify(case.body, case.headers)


@every_case
def test_the_python_svix_library_agrees(case: Case) -> None:
    receiver = svix.Webhook(case.secret)
    if case.genuine:
        receiver.verify(case.body, case.headers)  # answers nothing; it raises or it does not
    else:
        with pytest.raises(svix.WebhookVerificationError):
            receiver.verify(case.body, case.headers)


@every_case
def test_a_plain_hmac_of_the_body_with_the_secret_agrees(case: Case) -> None:
    expected = "sha256=" + hmac.new(case.secret.encode(), case.body, hashlib.sha256).hexdigest()
    assert (expected in case.headers["X-8ms-Signature"].split(",")) == case.genuine


def test_an_attempt_signed_too_long_ago_is_refused_so_every_attempt_signs_afresh() -> None:
    secret = sign.new_secret()
    made = sign.headers([secret], EVENT, int(time.time()) - 3600, BODY)
    with pytest.raises(standardwebhooks.WebhookVerificationError, match="old"):
        standardwebhooks.Webhook(secret).verify(BODY, made)


def test_the_node_libraries_and_node_crypto_agree() -> None:
    node, modules = shutil.which("node"), node_modules()
    if node is None:
        pytest.skip("node is not installed")
    if modules is None:
        pytest.skip("npm's standardwebhooks and svix are in no node_modules here or on NODE_PATH")
    now_s = int(time.time())
    stale = sign.headers([CASES["one secret"].secret], EVENT, now_s - 3600, BODY)
    cases = [*CASES.values()]
    sent = [
        {"secret": case.secret, "headers": case.headers, "body": case.body.decode()}
        for case in cases
    ]
    sent.append({"secret": cases[0].secret, "headers": stale, "body": BODY.decode()})
    done = subprocess.run(
        [node, "-e", NODE_SCRIPT, str(modules)],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *verdicts, late = json.loads(done.stdout)
    for case, verdict in zip(cases, verdicts, strict=True):
        assert verdict == dict.fromkeys(("standardwebhooks", "svix", "crypto"), case.genuine)
    # The plain HMAC has no freshness of its own: the id and the time inside the body have to do.
    assert late == {"standardwebhooks": False, "svix": False, "crypto": True}


def node_modules() -> Path | None:
    """Where both packages are installed, if anywhere."""
    places = [ROOT / "node_modules", ROOT / "tests" / "contract" / "node_modules"]
    places += [Path(place) for place in os.environ.get("NODE_PATH", "").split(os.pathsep) if place]
    wanted = ("standardwebhooks", "svix")
    return next((p for p in places if all((p / name).is_dir() for name in wanted)), None)
