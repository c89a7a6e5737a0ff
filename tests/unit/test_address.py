"""Where a webhook may go: hostile URLs, addresses and names, and what is dialled in the end."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from services.webhooks import address
from services.webhooks.address import (
    AddressError,
    BadUrl,
    BlockedAddress,
    GuardedResolver,
    blocked_reason,
    check_url,
)

PUBLIC = ("93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946")

HOSTILE_URLS = [
    # literal addresses in their canonical spelling
    ("https://127.0.0.1/", "address_blocked"),
    ("https://127.255.255.254/", "address_blocked"),
    ("https://0.0.0.0/", "address_blocked"),
    ("https://10.0.0.1/", "address_blocked"),
    ("https://172.16.0.1/", "address_blocked"),
    ("https://172.31.255.255/", "address_blocked"),
    ("https://192.168.1.1/", "address_blocked"),
    ("https://169.254.169.254/latest/meta-data/", "address_blocked"),
    ("https://100.100.100.200/", "address_blocked"),
    ("https://168.63.129.16/", "address_blocked"),
    ("https://224.0.0.1/", "address_blocked"),
    ("https://255.255.255.255/", "address_blocked"),
    ("https://[::1]/", "address_blocked"),
    ("https://[::]/", "address_blocked"),
    ("https://[0:0:0:0:0:0:0:1]/", "address_blocked"),
    ("https://[::ffff:127.0.0.1]/", "address_blocked"),
    ("https://[::FFFF:7F00:1]/", "address_blocked"),
    ("https://[::127.0.0.1]/", "address_blocked"),
    ("https://[::ffff:0:127.0.0.1]/", "address_blocked"),
    ("https://[64:ff9b::7f00:1]/", "address_blocked"),
    ("https://[64:ff9b:1::a00:1]/", "address_blocked"),
    ("https://[2002:7f00:1::1]/", "address_blocked"),
    ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "address_blocked"),
    ("https://[fe80::1]/", "address_blocked"),
    ("https://[fd00:ec2::254]/", "address_blocked"),
    ("https://[fec0::1]/", "address_blocked"),
    ("https://[ff02::1]/", "address_blocked"),
    # the same addresses in spellings that inet_aton or a lenient parser takes
    ("https://2130706433/", "host_odd_spelling"),
    ("https://0x7f000001/", "host_odd_spelling"),
    ("https://0X7F000001/", "host_odd_spelling"),
    ("https://0x7f.1/", "host_odd_spelling"),
    ("https://0x7f.0x0.0x0.0x1/", "host_odd_spelling"),
    ("https://017700000001/", "host_odd_spelling"),
    ("https://0177.0.0.1/", "host_odd_spelling"),
    ("https://127.1/", "host_odd_spelling"),
    ("https://127.0.1/", "host_odd_spelling"),
    ("https://127.0.0.01/", "host_odd_spelling"),
    ("https://127.0.0.256/", "host_odd_spelling"),
    ("https://1.127.0.0.1/", "host_odd_spelling"),
    ("https://127.0.0.0x1/", "host_odd_spelling"),
    ("https://0/", "host_odd_spelling"),
    ("https://hooks.example.0x/", "host_odd_spelling"),
    ("https://127.0.0.1./", "host_malformed"),
    ("https://2130706433./", "host_malformed"),
    ("https://localhost./", "host_malformed"),
    ("https://hooks.example./", "host_malformed"),
    ("https://[fe80::1%25eth0]/", "host_malformed"),
    ("https://[fe80::1%eth0]/", "host_malformed"),
    ("https://[::1/", "host_malformed"),
    ("https://[127.0.0.1]/", "host_malformed"),
    ("https://[::ffff:127.1]/", "host_malformed"),
    ("https://[v1.fe80]/", "host_malformed"),
    ("https://%31%32%37.0.0.1/", "host_malformed"),
    ("https://127%2e0%2e0%2e1/", "host_malformed"),
    ("https://①②⑦.⓪.⓪.①/", "url_malformed"),
    ("https://127。0。0。1/", "url_malformed"),
    ("https://ⓛocalhost/", "url_malformed"),
    ("https://bücher.example/", "url_malformed"),
    # names of the inside
    ("https://localhost/", "name_blocked"),
    ("https://LOCALHOST/", "name_blocked"),
    ("https://hooks.localhost/", "name_blocked"),
    ("https://metadata.google.internal/", "name_blocked"),
    ("https://printer.local/", "name_blocked"),
    ("https://nas.home.arpa/", "name_blocked"),
    ("https://postgres/", "name_blocked"),
    # what is no name
    ("https:///path", "host_malformed"),
    ("https://:443/", "host_malformed"),
    ("https://?x", "host_malformed"),
    ("https://a..example/", "host_malformed"),
    ("https://.example/", "host_malformed"),
    ("https://-a.example/", "host_malformed"),
    ("https://" + "a" * 64 + ".example/", "host_malformed"),
    ("https://" + "a." * 125 + "example/", "host_malformed"),
    ("https://a,b.example/", "host_malformed"),
    # users, fragments, ports, schemes
    ("https://hooks.example@127.0.0.1/", "userinfo_not_allowed"),
    ("https://user:password@hooks.example/", "userinfo_not_allowed"),
    ("https://@hooks.example/", "userinfo_not_allowed"),
    ("https://hooks.example/#", "fragment_not_allowed"),
    ("https://hooks.example/x#@127.0.0.1/", "fragment_not_allowed"),
    ("https://hooks.example#@127.0.0.1/", "fragment_not_allowed"),
    ("https://hooks.example:22/", "port_not_allowed"),
    ("https://hooks.example:80/", "port_not_allowed"),
    ("https://hooks.example:5432/", "port_not_allowed"),
    ("https://hooks.example:0/", "port_not_allowed"),
    ("https://hooks.example:65979/", "port_not_allowed"),  # 443 after wrapping at 65536
    ("https://hooks.example:/", "host_malformed"),
    ("https://hooks.example:443:443/", "host_malformed"),
    ("https://hooks.example:+443/", "host_malformed"),
    ("https://hooks.example:4_43/", "host_malformed"),
    ("https://hooks.example:000443/", "host_malformed"),
    ("http://hooks.example/", "scheme_not_allowed"),
    ("HTTP://hooks.example/", "scheme_not_allowed"),
    ("http://hooks.example:443/", "scheme_not_allowed"),
    ("ftp://hooks.example/", "scheme_not_allowed"),
    ("file:///etc/passwd", "scheme_not_allowed"),
    ("gopher://127.0.0.1:6379/_INFO", "scheme_not_allowed"),
    ("unix://var/run/docker.sock", "scheme_not_allowed"),
    # what parsers read differently
    ("https://hooks.example\\@127.0.0.1/", "url_malformed"),
    ("https:\\\\127.0.0.1\\", "url_malformed"),
    ("https://hooks.example\t.evil.example/", "url_malformed"),
    ("https://hooks.example/\r\nHost: localhost", "url_malformed"),
    ("https://hooks.example/ x", "url_malformed"),
    (" https://hooks.example/", "url_malformed"),
    ("https://hooks.example/\0", "url_malformed"),
    ("https://hooks.example/\x7f", "url_malformed"),
    ("https://hooks.example/\udcff", "url_malformed"),
    ("https:/hooks.example/", "url_malformed"),
    ("//hooks.example/", "url_malformed"),
    ("hooks.example", "url_malformed"),
    ("", "url_malformed"),
    ("https://hooks.example/" + "a" * 2027, "url_too_long"),
]

BLOCKED = {
    "this network": ["0.0.0.0", "0.255.255.255"],
    "private": ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0"],
    "shared by carriers": ["100.64.0.0", "100.127.255.255"],
    "loopback": ["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"],
    "cloud platform": ["168.63.129.16", "::ffff:168.63.129.16"],
    "link-local": ["169.254.0.0", "169.254.169.254", "fe80::1", "febf:ffff::1"],
    "protocol assignments": ["192.0.0.0", "192.0.0.192", "2001:1ff:ffff::1", "2001:2::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "6to4 relay": ["192.88.99.1"],
    "benchmarking": ["198.18.0.0", "198.19.255.255"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ffff::1"],
    "reserved": ["240.0.0.0", "255.255.255.255"],
    "AS112": ["192.31.196.1", "192.175.48.1", "2620:4f:8000::1"],
    "AMT relay": ["192.52.193.1"],
    "unspecified": ["::"],
    "IPv4-compatible": ["::127.0.0.1", "::8.8.8.8", "::2"],
    "IPv4-translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "NAT64": ["64:ff9b::8.8.8.8", "64:ff9b::a00:1", "64:ff9b:1::1", "64:ff9b:1:ffff::1"],
    "discard": ["100::1"],
    "dummy": ["100:0:0:1::1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "6to4": ["2002::1", "2002:808:808::1", "2002:c0a8:101::1"],
    "segment routing": ["5f00::1"],
    "private (IPv6)": ["fc00::1", "fd00:ec2::254", "fdff:ffff::1"],
    "site-local": ["fec0::1", "feff::1"],
    "not global unicast": ["::1:0:0:1", "200::1", "1fff:ffff::1", "4000::1", "fe00::1"],
    "zoned": ["fe80::1%eth0", "2606:2800:220:1::1%1", "::ffff:8.8.8.8%1"],
    "not an address": ["", "localhost", "127.1", "0x7f.0.0.1", "010.0.0.1", "1.2.3.4/32", "::g"],
}

REACHABLE = [
    *PUBLIC,
    "1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255",
    "203.0.114.0", "223.255.255.255", "2000::1", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1",
    "2001:4860:4860::8888", "2003::1", "2a00:1450:4001::1", "3ffe::1", "3fff:1000::1",
    "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize(("url", "code"), HOSTILE_URLS, ids=ascii)
def test_a_hostile_url_is_refused(url: str, code: str) -> None:
    with pytest.raises(AddressError) as caught:
        check_url(url, development=False)
    assert caught.value.code == code
    blocked = code in ("address_blocked", "name_blocked")
    assert type(caught.value) is (BlockedAddress if blocked else BadUrl)
    assert caught.value.detail.endswith(".")


@pytest.mark.parametrize(
    ("url", "host", "port", "literal"),
    [
        ("https://hooks.example", "hooks.example", 443, False),
        ("https://hooks.example?a=b", "hooks.example", 443, False),
        ("HTTPS://Hooks.Example:443/x?y=z%20", "hooks.example", 443, False),
        ("https://hooks.example:8443/a/../b", "hooks.example", 8443, False),
        (
            "https://a_b.xn--bcher-kva.example/~me/%7e/?q=a@b:c",
            "a_b.xn--bcher-kva.example",
            443,
            False,
        ),
        ("https://93.184.216.34/", "93.184.216.34", 443, True),
        ("https://[2606:2800:0220:1::0001]:8443/", "2606:2800:220:1::1", 8443, True),
        ("https://[::ffff:93.184.216.34]/", "::ffff:5db8:d822", 443, True),
        ("https://1e100.net/", "1e100.net", 443, False),
        ("https://hooks.example/" + "a" * 2026, "hooks.example", 443, False),
    ],
)
def test_a_good_url_becomes_a_target(url: str, host: str, port: int, literal: bool) -> None:
    target = check_url(url, development=False)
    assert (target.host, target.port, target.tls, target.literal) == (host, port, True, literal)
    assert (target.url.scheme, target.url.raw_host, target.url.port) == ("https", host, port)


def test_a_url_that_the_client_would_read_differently_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No such URL is known; this is for the day on which the client's parser changes."""
    monkeypatch.setattr(address, "URL", lambda text: URL(text).with_host("127.0.0.1"))
    with pytest.raises(BadUrl, match="more than one way"):
        check_url("https://hooks.example/", development=False)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:9000/hook", "127.0.0.1", 9000),
        ("http://127.0.0.1/", "127.0.0.1", 80),
        ("http://[::1]:9000/", "::1", 9000),
        ("http://localhost:65535/", "localhost", 65535),
        ("http://hooks.localhost:1/", "hooks.localhost", 1),
        ("https://localhost:9443/", "localhost", 9443),
        ("https://hooks.example/", "hooks.example", 443),
    ],
)
def test_in_development_this_machine_may_be_reached(url: str, host: str, port: int) -> None:
    target = check_url(url, development=True)
    assert (target.host, target.port, target.tls) == (host, port, url.startswith("https"))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example/", "scheme_not_allowed"),
        ("http://93.184.216.34/", "scheme_not_allowed"),
        ("https://hooks.example:9000/", "port_not_allowed"),
        ("http://localhost:0/", "port_not_allowed"),
        ("http://localhost:65536/", "port_not_allowed"),
        ("http://192.168.1.10/", "address_blocked"),
        ("http://0.0.0.0/", "address_blocked"),
        ("http://169.254.169.254/", "address_blocked"),
        ("http://127.1:9000/", "host_odd_spelling"),
        ("http://user@localhost/", "userinfo_not_allowed"),
        ("http://localhost/#x", "fragment_not_allowed"),
        ("http://postgres/", "name_blocked"),
        ("http://notlocalhost/", "name_blocked"),
        ("http://localhost.internal/", "name_blocked"),
    ],
)
def test_development_opens_nothing_but_this_machine(url: str, code: str) -> None:
    with pytest.raises(AddressError) as caught:
        check_url(url, development=True)
    assert caught.value.code == code


@given(st.text(alphabet="htps:/@#?[]%\\.0127afx-lo\t ", max_size=40) | st.text(max_size=40))
def test_whatever_is_written_is_judged_and_never_a_crash(rest: str) -> None:
    for url in (rest, "https://" + rest):
        for development in (False, True):
            try:
                target = check_url(url, development=development)
            except AddressError:
                continue
            assert target.url.raw_host == target.host
            assert target.tls or development
            if target.literal and not development:
                assert blocked_reason(target.host) is None


@pytest.mark.parametrize(
    ("ip", "reason"), [(ip, reason) for reason, ips in BLOCKED.items() for ip in ips]
)
def test_an_address_of_a_special_range_is_blocked(ip: str, reason: str) -> None:
    assert blocked_reason(ip) == reason.removesuffix(" (IPv6)")


@pytest.mark.parametrize("ip", REACHABLE)
def test_a_neighbour_of_the_special_ranges_is_reachable(ip: str) -> None:
    assert blocked_reason(ip) is None


@given(st.ip_addresses())
def test_nothing_passes_that_the_standard_library_calls_special(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    inner = getattr(ip, "ipv4_mapped", None) or ip
    if blocked_reason(str(ip)) is None:
        assert inner.is_global
        assert not inner.is_private
        assert not inner.is_multicast
        assert not inner.is_reserved


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_inside(ip: ipaddress.IPv4Address) -> None:
    assert blocked_reason(f"::ffff:{ip}") == blocked_reason(str(ip))


class FakeDns(AbstractResolver):
    """Answers from a table; each further question about a name gets its next row."""

    def __init__(self, table: Mapping[str, list[list[str]]]) -> None:
        self._table = {name: list(rows) for name, rows in table.items()}
        self.asked: list[str] = []
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self._table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        rows = self._table[host]
        ips = rows.pop(0) if len(rows) > 1 else rows[0]
        return [
            ResolveResult(
                hostname=host,
                host=ip,
                port=port,
                family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for ip in ips
        ]

    async def close(self) -> None:
        self.closed = True


def guarded(*ips: str, development: bool = False) -> GuardedResolver:
    return GuardedResolver(development=development, resolver=FakeDns({"hooks.example": [[*ips]]}))


async def test_a_name_with_good_addresses_resolves_to_exactly_those() -> None:
    found = await guarded(*PUBLIC).resolve("hooks.example", 443, socket.AF_UNSPEC)
    assert [(one["host"], one["port"]) for one in found] == [(ip, 443) for ip in PUBLIC]


@pytest.mark.parametrize("bad", [ips[0] for ips in BLOCKED.values()])
@pytest.mark.parametrize("place", [0, 1, 20])
async def test_one_bad_address_refuses_the_whole_name(bad: str, place: int) -> None:
    ips = [PUBLIC[0]] * 20
    ips.insert(place, bad)
    with pytest.raises(BlockedAddress) as caught:
        await guarded(*ips).resolve("hooks.example", 443)
    assert caught.value.code == "address_blocked"
    assert not bad or bad not in str(caught.value)


async def test_in_development_loopback_passes_and_nothing_else() -> None:
    assert len(await guarded("127.0.0.1", "::1", development=True).resolve("hooks.example")) == 2
    for bad in ("10.0.0.1", "169.254.169.254", "0.0.0.0", "fe80::1%lo"):
        with pytest.raises(BlockedAddress):
            await guarded("127.0.0.1", bad, development=True).resolve("hooks.example")


async def test_of_very_many_addresses_only_the_first_are_dialled() -> None:
    found = await guarded(*[PUBLIC[0]] * 100).resolve("hooks.example")
    assert len(found) == address.MAX_ADDRESSES


async def test_a_name_that_does_not_resolve_is_a_failed_lookup_and_not_a_blocked_one() -> None:
    with pytest.raises(OSError, match="no such name"):
        await guarded().resolve("missing.example")
    with pytest.raises(OSError, match="no address"):
        await guarded().resolve("hooks.example")


async def test_closing_closes_the_resolver_that_was_asked() -> None:
    dns = FakeDns({})
    await GuardedResolver(development=False, resolver=dns).close()
    assert dns.closed
    await GuardedResolver(development=False).close()


@pytest.mark.parametrize("name", ["localhost", "0x7f000001", "0x7f.1"])
async def test_the_systems_own_resolver_is_guarded_too(name: str) -> None:
    resolver = GuardedResolver(development=False)
    with pytest.raises(BlockedAddress, match="loopback"):
        await resolver.resolve(name, 443, socket.AF_UNSPEC)
    await resolver.close()


@pytest.fixture
async def receiver() -> AsyncIterator[TestServer]:
    async def hook(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Host"])

    app = web.Application()
    app.router.add_post("/hook", hook)
    server = TestServer(app)
    async with server:
        yield server


def session(dns: FakeDns, *, development: bool) -> aiohttp.ClientSession:
    resolver = GuardedResolver(development=development, resolver=dns)
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    return aiohttp.ClientSession(connector=connector)


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(
    receiver: TestServer,
) -> None:
    """One lookup for one attempt: no second answer that nobody checked (DNS rebinding)."""
    dns = FakeDns({"hooks.localhost": [["127.0.0.1"], ["10.0.0.1"]]})
    target = check_url(f"http://hooks.localhost:{receiver.port}/hook", development=True)
    async with session(dns, development=True) as client:
        async with client.post(target.url) as response:
            assert await response.text() == f"hooks.localhost:{receiver.port}"
        assert dns.asked == ["hooks.localhost"]
        with pytest.raises(BlockedAddress):
            await client.post(target.url)
    assert dns.asked == ["hooks.localhost"] * 2


async def test_a_blocked_name_is_refused_before_anything_is_sent(receiver: TestServer) -> None:
    dns = FakeDns({"hooks.example": [["127.0.0.1"]]})
    async with session(dns, development=False) as client:
        with pytest.raises(BlockedAddress):
            await client.post(f"http://hooks.example:{receiver.port}/hook")
    assert dns.asked == ["hooks.example"]


async def test_a_literal_address_is_never_shown_to_a_resolver_so_the_url_is_judged_first(
    receiver: TestServer,
) -> None:
    dns = FakeDns({})
    url = f"http://127.0.0.1:{receiver.port}/hook"
    async with session(dns, development=False) as client, client.post(url) as response:
        assert response.status == 200  # the resolver alone would let this pass
    assert dns.asked == []
    with pytest.raises(BlockedAddress):
        check_url(url, development=False)
