"""The simulated phone's HTTP: answers in any pieces, and what is no answer."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.simphone.http import PIECE_MAX_BYTES, Response, Target, Unusable, with_body

LENGTH = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\nhello world"
)
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    b"5;name=value\r\nhello\r\n00006\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
AFTER_NEWS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + LENGTH


def read(pieces: list[bytes]) -> tuple[Response, bytes]:
    response = Response()
    return response, b"".join([response.feed(piece) for piece in pieces])


@given(
    st.sampled_from([(LENGTH, b"hello world"), (CHUNKED, b"hello world"), (EMPTY, b"")]),
    st.lists(st.integers(0, 150)),
)
def test_an_answer_reads_the_same_however_it_is_cut(answer: tuple[bytes, bytes], cuts: list[int]):
    raw, body = answer
    ends = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    pieces = [raw[begin:end] for begin, end in itertools.pairwise(ends)]
    response, found = read(pieces)
    assert (found, response.done, response.reusable) == (body, True, True)


def test_an_answer_comes_after_the_news_on_the_way_to_it():
    response, body = read([AFTER_NEWS[:50], AFTER_NEWS[50:]])
    assert (response.status, body, response.done) == (200, b"hello world", True)
    assert response.header(b"content-type") == "application/json"
    assert response.header(b"link") == ""


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 11",
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 11",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain",
    ],
)
def test_a_connection_that_ends_is_not_used_again(head: bytes):
    response, body = read([head + b"\r\n\r\nhello", b" world"])
    assert body == b"hello world"
    assert response.done != response.unbounded
    assert not response.reusable


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, EMPTY])
def test_a_connection_with_more_than_the_answer_is_not_used_again(answer: bytes):
    response, _ = read([answer + b"HTTP/1.1 200 OK\r\n"])
    assert response.done
    assert not response.reusable


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + b"x" * PIECE_MAX_BYTES,
    ],
)
def test_what_is_no_answer_is_refused(raw: bytes):
    with pytest.raises(Unusable):
        read([raw])


def test_a_request_says_what_it_must():
    target = Target.of("http://[::1]:8080/phone/v1/journal?a=b%20c")
    assert (target.origin.host, target.origin.port, target.origin.secure) == ("::1", 8080, False)
    request = with_body(target.head("POST", {"Authorization": "Bearer x"}), b"{}").decode()
    head, _, body = request.partition("\r\n\r\n")
    assert head.split("\r\n")[:2] == [
        "POST /phone/v1/journal?a=b%20c HTTP/1.1",
        "Host: [::1]:8080",
    ]
    assert "Authorization: Bearer x" in head.split("\r\n")
    assert head.endswith("\r\nContent-Length: 2")
    assert body == "{}"


def test_what_is_no_address_or_no_header_is_refused():
    for address in ("ftp://example.com/", "/phone/v1/stream", "http://", "http://a:b/"):
        with pytest.raises(Unusable):
            Target.of(address)
    with pytest.raises(Unusable, match="line break"):
        Target.of("https://example.com/").head("GET", {"Authorization": "Bearer x\r\nEvil: yes"})
