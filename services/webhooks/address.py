"""Where a webhook may go: never to this machine, this network, or a cloud's metadata.

Customers choose the URL, so we would be their way into our own network (SSRF). Three checks, all of
them at create, at update and before every attempt:

1. `check_url` judges the text: scheme, port, host, and literal addresses in whatever spelling.
2. `GuardedResolver` judges what the name resolves to, inside the connector, so that the address
   which was checked is the one which is dialled. One bad address refuses the whole name.
3. The caller follows no redirect (a redirect is a URL that nobody checked) and uses no proxy.

aiohttp does not ask a resolver about a host that looks like an address. So a request goes to
`Target.url` and to nothing else: it is the very object that was judged, and no second parser
can read it differently.

    AddressError          code (stable) and detail (for the customer)
    ├── BadUrl            not a URL we accept, whatever it points to: refuse at create
    └── BlockedAddress    points where we do not go: refuse at create, a failed attempt later
"""

import ipaddress
import re
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

MAX_URL_CHARACTERS = 2048
"""What servers and proxies accept without trouble; it bounds a row and a log line."""

ALLOWED_PORTS = frozenset({443, 8443})
"""Ports of web servers that speak TLS. Any port would make us a port scanner."""

MAX_PORT = 65535

MAX_ADDRESSES = 8
"""Of one name, all checked; more are not dialled, since each one tried costs connect time."""

MAX_HOST_CHARACTERS = 253
"""Of a DNS name (RFC 1035, 255 octets with their framing)."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOOPBACK = "loopback"


def _networks(*rows: tuple[str, str]) -> tuple[tuple[_Network, str], ...]:
    return tuple((ipaddress.ip_network(network), reason) for network, reason in rows)


# The IANA special-purpose registries, and what clouds add to them. `is_global` is not enough: it
# lets pass multicast, 6to4, NAT64 and others.
_BLOCKED_IPV4 = _networks(
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", _LOOPBACK),
    ("168.63.129.16/32", "cloud platform"),  # Azure's virtual host: public, but reached from inside
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT relay"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
)

# Ranges that carry an IPv4 address are refused whole: through a gateway of the right kind each
# of them reaches whatever IPv4 address it names.
_BLOCKED_IPV6 = _networks(
    ("::/128", "unspecified"),
    ("::1/128", _LOOPBACK),
    ("::/96", "IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64"),
    ("100::/64", "discard"),
    ("100:0:0:1::/64", "dummy"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")

# Names that only resolve inside somebody's network (RFC 6761, 6762, 8375; ICANN for .internal).
_INSIDE_NAMES = ("localhost", "local", "internal", "home.arpa")

_UNPRINTABLE = re.compile(r"[^!-~]")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(#?)", re.DOTALL)
_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")


class AddressError(ValueError):
    """A webhook may not go there. `code` is stable, `detail` is a sentence for the customer."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class BadUrl(AddressError):
    """url_too_long, url_malformed, scheme_not_allowed, userinfo_not_allowed, fragment_not_allowed,
    host_malformed, host_odd_spelling, port_not_allowed."""


class BlockedAddress(AddressError):
    """address_blocked (a literal one, or what the name resolves to), name_blocked."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was judged. `url` is what to request; the rest says what it will connect to."""

    url: URL
    host: str
    port: int
    tls: bool
    literal: bool
    """The host is an address, so that no resolver will be asked about it."""


def check_url(url: str, *, development: bool) -> Target:
    """Judge the URL of an endpoint; no name is resolved here.

    In: the customer's text; whether this is a development installation (EIGHTMS_ENV), which may
    also reach its own machine, over http and on any port. Errors: BadUrl, BlockedAddress.
    """
    scheme, authority = _split(url)
    host, port_text, literal = _host_and_port(authority)
    loopback = _judge_host(host, literal, development)
    if scheme == "http" and not loopback:
        also = " (or to this machine)" if development else ""
        raise BadUrl("scheme_not_allowed", f"Webhooks are sent over https only{also}.")
    tls = scheme == "https"
    port = int(port_text) if port_text else (443 if tls else 80)
    if not (1 <= port <= MAX_PORT if loopback else port in ALLOWED_PORTS):
        allowed = " and ".join(map(str, sorted(ALLOWED_PORTS)))
        raise BadUrl("port_not_allowed", f"Webhooks are sent to ports {allowed} only.")
    parsed = _parse(url)
    if (parsed.scheme, parsed.raw_host, parsed.port) != (scheme, host, port):
        raise BadUrl("url_malformed", "The URL can be read in more than one way.")
    return Target(url=parsed, host=host, port=port, tls=tls, literal=literal)


def blocked_reason(ip: str) -> str | None:
    """Why we do not connect to an address, in a word or two; None when we may.

    An IPv4 address inside an IPv6 one (::ffff:a.b.c.d) is judged as the IPv4 address that would be
    dialled. What is no address, or has a zone, is refused as such.
    """
    address = _parse_ip(ip)
    if address is None:
        return "not an address"
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return "zoned"
        if address.ipv4_mapped is None:
            outside = None if address in _GLOBAL_IPV6 else "not global unicast"
            return _listed(address, _BLOCKED_IPV6) or outside
        address = address.ipv4_mapped
    return _listed(address, _BLOCKED_IPV4)


class GuardedResolver(AbstractResolver):
    """Resolves a name and answers only if every address of it may be reached.

    Give it to `TCPConnector(resolver=…, use_dns_cache=False)`: every new connection then resolves
    and checks again. In development loopback passes. `resolver` is asked for the addresses; left
    out, aiohttp's own, made on first use, since that needs a running loop.
    """

    def __init__(self, *, development: bool, resolver: AbstractResolver | None = None) -> None:
        self._development = development
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """At most MAX_ADDRESSES checked addresses. Errors: BlockedAddress, the lookup's OSError."""
        if self._resolver is None:
            self._resolver = DefaultResolver()
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            reason = _refusal(result["host"], self._development)
            if reason is not None:
                # Not the address itself: a name of our own network would tell its layout.
                raise BlockedAddress(
                    "address_blocked", f"The host resolves to a blocked address ({reason})."
                )
        if not found:
            raise OSError(f"no address for {host}")
        return found[:MAX_ADDRESSES]

    async def close(self) -> None:
        """Close the resolver that was asked."""
        if self._resolver is not None:
            await self._resolver.close()


def _split(url: str) -> tuple[str, str]:
    if len(url) > MAX_URL_CHARACTERS:
        raise BadUrl("url_too_long", f"A URL has at most {MAX_URL_CHARACTERS} characters.")
    # A backslash ends the host for some parsers and not for others; so do tabs and line breaks.
    if _UNPRINTABLE.search(url) or "\\" in url:
        raise BadUrl(
            "url_malformed",
            "A URL is printable ASCII without backslashes: write an international host name"
            " in its xn-- form, and anything else percent-encoded.",
        )
    match = _URL.match(url)
    if match is None:
        raise BadUrl("url_malformed", "A URL looks like https://example.com/path.")
    scheme = match[1].lower()
    if scheme not in ("http", "https"):
        raise BadUrl("scheme_not_allowed", "Webhooks are sent over https only.")
    if match[4]:
        raise BadUrl(
            "fragment_not_allowed", "A fragment (#…) never reaches a server: leave it out."
        )
    if "@" in match[2]:
        raise BadUrl("userinfo_not_allowed", "A URL may not hold a user name or password.")
    return scheme, match[2]


def _host_and_port(authority: str) -> tuple[str, str, bool]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise BadUrl("host_malformed", "The host is not a name or an address.")
    port = match["port"] or ""
    if match["v6"] is not None:
        address = _parse_ip(match["v6"])
        if not isinstance(address, ipaddress.IPv6Address):
            raise BadUrl("host_malformed", "The host is not an IPv6 address.")
        return str(address), port, True
    host = match["name"].lower()
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        # By inet_aton's rules 127.1, 2130706433, 0177.0.0.1 and 0x7f.1 are all 127.0.0.1.
        if _parse_ip(host) is None:
            raise BadUrl("host_odd_spelling", "An IPv4 address is written as four decimal numbers.")
        return host, port, True
    if len(host) > MAX_HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl("host_malformed", "The host is not a name that DNS can hold.")
    return host, port, False


def _judge_host(host: str, literal: bool, development: bool) -> bool:
    """Refuse a host known to be bad; say whether it is this machine, which development allows."""
    if literal:
        reason = _refusal(host, development)
        if reason is not None:
            raise BlockedAddress("address_blocked", f"Webhooks are not sent there ({reason}).")
        return blocked_reason(host) == _LOOPBACK
    if development and (host == "localhost" or host.endswith(".localhost")):
        return True
    inside = any(host == name or host.endswith(f".{name}") for name in _INSIDE_NAMES)
    if inside or "." not in host:
        raise BlockedAddress("name_blocked", "The host is a name of a private network.")
    return False


def _parse(url: str) -> URL:
    try:
        return URL(url)
    except ValueError:
        raise BadUrl("url_malformed", "The URL cannot be read.") from None


def _refusal(ip: str, development: bool) -> str | None:
    reason = blocked_reason(ip)
    return None if development and reason == _LOOPBACK else reason


def _parse_ip(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _listed(address: _Address, rows: tuple[tuple[_Network, str], ...]) -> str | None:
    return next((reason for network, reason in rows if address in network), None)
