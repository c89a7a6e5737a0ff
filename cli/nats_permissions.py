"""Who may do what on NATS: one user per service, and `ops` for deployment and the command line.

A service publishes its own events and nothing else; the table below follows the event catalogue.
Only api, which carries out erasure, may delete messages; only ops may change the stream. The
embedded server's configuration and deploy/nats.conf are both rendered from here:

    python -m cli.nats_permissions > deploy/nats.conf
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

OPS = "ops"

# Event subjects are <entity>.<verb>.<workspace>.<key>; here stand entity and verb.
APPENDED_BY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "api": (
            "workspace.*",
            "member.*",
            "api_key.*",
            "contact.*",
            "conversation.*",
            "message.*",
            "phone.*",
            "campaign.*",
            "send.requested",
            "send.cancel_requested",
            "send.resolved",
            "webhook.*",
            "subscription.*",
            "privacy.*",
        ),
        "gateway": ("phone.*", "sms.*"),
        "scheduler": (
            "campaign.*",
            "send.requested",
            "send.held",
            "send.dispatched",
            "send.rejected",
            "send.cancelled",
            "send.expired",
            "send.cancel_requested",  # to recall a command from a silent phone
        ),
        "inbound": (
            "contact.saved",
            "contact.opted_out",
            "contact.opted_in",
            "reply.*",
            "send.requested",
        ),
        "webhooks": ("webhook.*",),
        "ghl_sync": (
            "contact.saved",
            "contact.opted_out",
            "contact.opted_in",
            "ghl.*",
            "send.requested",
        ),
    }
)
SERVICES = tuple(APPENDED_BY)
USERS = (*SERVICES, OPS)

EVENTS_STREAM = "EVENTS"
PRESENCE_BUCKET = "presence"  # which phone is connected where; the entries expire
PRESENCE_USERS = ("gateway", "api")
ERASERS = ("api",)  # whose leading instance carries out erasures (services/api/erasure.py)


def _reading(stream: str) -> list[str]:
    """The JetStream API subjects that reading a stream takes: own consumers, and lookups."""
    api = "$JS.API"
    return [
        f"{api}.STREAM.INFO.{stream}",
        f"{api}.CONSUMER.CREATE.{stream}",
        f"{api}.CONSUMER.CREATE.{stream}.>",
        f"{api}.CONSUMER.INFO.{stream}.>",
        f"{api}.CONSUMER.MSG.NEXT.{stream}.>",
        f"{api}.CONSUMER.DELETE.{stream}.>",
        f"{api}.DIRECT.GET.{stream}",
        f"{api}.DIRECT.GET.{stream}.>",
        f"{api}.STREAM.MSG.GET.{stream}",
    ]


def may_publish(user: str) -> list[str]:
    """Every subject `user` may publish to. KeyError for a user that does not exist."""
    if user == OPS:
        return [">"]
    allowed = [f"{event}.*.*" for event in APPENDED_BY[user]]
    allowed += ["$JS.API.INFO", *_reading(EVENTS_STREAM), "$JS.FC.>"]
    if user in ERASERS:
        # One event at a time, which overwrites its bytes; a purge would leave them on the disk.
        allowed.append(f"$JS.API.STREAM.MSG.DELETE.{EVENTS_STREAM}")
    if user in PRESENCE_USERS:
        allowed += [f"$KV.{PRESENCE_BUCKET}.>", *_reading(f"KV_{PRESENCE_BUCKET}")]
    # A wake-up after a commit is its own service's; anybody may ask anybody; answers go to inboxes.
    return [*allowed, f"wake.{user}", f"wake.{user}.>", "ask.>", "_INBOX.>"]


def may_subscribe(user: str) -> list[str]:
    """Every subject `user` may subscribe to: events come from consumers, through an inbox."""
    if user == OPS:
        return [">"]
    return ["_INBOX.>", "wake.>", f"ask.{user}.>"]


def quoted(text: str) -> str:
    """`text` as a string of the server's configuration language, in which `$` begins a variable."""
    if '"' in text or "\\" in text or "\n" in text:
        raise ValueError("a quote, a backslash or a line end cannot stand in the configuration")
    return f'"{text}"'


def authorization(password_of: Callable[[str], str]) -> str:
    """The `authorization` block. `password_of` gives the text that stands after `password:`."""
    users = "\n".join(
        f"    {{ user: {user}, password: {password_of(user)}, permissions: {{\n"
        f"        publish: {{ allow: [{_listed(may_publish(user))}] }}\n"
        f"        subscribe: {{ allow: [{_listed(may_subscribe(user))}] }} }} }}"
        for user in USERS
    )
    return f"authorization {{\n  users: [\n{users}\n  ]\n}}\n"


def _listed(subjects: list[str]) -> str:
    return ", ".join(quoted(subject) for subject in subjects)


def password_variable(user: str) -> str:
    """The environment variable that holds `user`'s password where deploy/nats.conf is used."""
    return f"NATS_{user.upper()}_PASSWORD"


def deployment_config() -> str:
    """deploy/nats.conf: the configuration for a NATS server that is run on its own."""
    return (
        "# NATS 2.15 for 8ms. Made by `python -m cli.nats_permissions > deploy/nats.conf`.\n"
        "# Passwords come from the environment: one variable per user, letters first, for the\n"
        "# configuration language would read a number as a number.\n"
        "listen: 0.0.0.0:4222\n"
        "http: 0.0.0.0:8222  # /healthz; keep it off the internet\n"
        "server_name: $NATS_SERVER_NAME\n\n"
        "jetstream {\n"
        "  store_dir: /data\n"
        "  # An acknowledged event is on the disk. Three replicas in three places may do without.\n"
        "  sync_interval: always\n"
        "}\n\n" + authorization(lambda user: f"${password_variable(user)}")
    )


if __name__ == "__main__":
    print(deployment_config(), end="")
