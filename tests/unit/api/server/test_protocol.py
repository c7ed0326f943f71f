"""A connection is served within limits of size and time, and what is refused can be read by the client."""

import asyncio

import pytest

from tests.support.connections import LimitedServer, settle

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
HALF_GET = b"GET / HTTP/1.1\r\nhost: a\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}
KIB = 1024


async def answer(_scope, _receive, send):
    """Answer at once, without reading the body."""
    await send(OK)
    await send(BODY)


async def read_and_answer(_scope, receive, send):
    """Read the whole body, then answer; drop a request whose sender is gone."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message["more_body"]:
            break
    await send(OK)
    await send(BODY)


class Stream:
    """Answers with a response that goes on until `end` is set."""

    def __init__(self):
        self.end = asyncio.Event()
        self.requests = 0

    async def __call__(self, _scope, _receive, send):
        self.requests += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event", "more_body": True})
        await self.end.wait()
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def server():
    return LimitedServer(answer)


async def test_a_request_is_answered_and_the_connection_serves_the_next(server):
    connection = server.connect()
    await connection.send(GET)
    await server.loop.advance(19)
    await connection.send(GET)
    assert connection.statuses == [200, 200]
    assert connection.is_open


async def test_the_head_of_a_response_is_sent_with_its_body(server):
    connection = server.connect()
    await connection.send(GET)
    await connection.send(GET)
    assert (connection.statuses, connection.writes) == ([200, 200], 2)
    assert connection.sent.endswith(b"\r\n\r\nok")


async def test_the_head_of_a_response_does_not_wait_for_a_body_that_comes_later():
    body = asyncio.Event()

    async def answer_slowly(_scope, _receive, send):
        await send(OK)
        await body.wait()
        await send(BODY)

    connection = LimitedServer(answer_slowly).connect()
    await connection.send(GET)
    assert connection.statuses == [200]
    assert connection.sent.endswith(b"\r\n\r\n")
    body.set()
    await settle()
    assert connection.sent.endswith(b"\r\n\r\nok")
    assert connection.is_open


@pytest.mark.parametrize("header", [b"", b"connection: close\r\n"])
async def test_the_head_of_a_response_without_a_body_is_sent(server, header):
    connection = server.connect()
    await connection.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n" + header + b"\r\n")
    assert connection.statuses == [200]
    assert connection.is_open is not header.startswith(b"connection")


async def test_a_connection_without_a_byte_is_closed_after_20_seconds(server):
    connection = server.connect()
    await server.loop.advance(19.9)
    assert connection.is_open
    await server.loop.advance(0.2)
    assert not connection.is_open
    assert connection.sent == b""


async def test_a_connection_is_closed_20_seconds_after_its_last_response(server):
    connection = server.connect()
    await server.loop.advance(15)
    await connection.send(GET)
    await server.loop.advance(19)
    assert connection.is_open
    await server.loop.advance(2)
    assert not connection.is_open


@pytest.mark.parametrize("first", [b"", GET], ids=["first request", "second request"])
async def test_empty_lines_before_a_request_extend_no_limit(server, first):
    connection = server.connect()
    await connection.send(first)
    for second in range(10):
        assert len(connection.statuses) == bool(first), second
        await connection.send(b"\r\n")
        await server.loop.advance(1)
    assert connection.statuses[-1] == 408


async def test_headers_without_an_end_are_refused_10_seconds_after_their_first_byte(server):
    connection = server.connect()
    await connection.send(HALF_GET)
    for second in range(10):
        assert connection.statuses == [], second
        await connection.send(b"x-%d: y\r\n" % second)
        await server.loop.advance(1)
    assert connection.statuses == [408]
    assert connection.problem["code"] == "request_timeout"
    assert connection.is_half_closed


async def test_a_body_without_an_end_is_refused_15_seconds_after_its_headers():
    server = LimitedServer(read_and_answer)
    connection = server.connect()
    await connection.send(POST)
    for second in range(15):
        assert connection.statuses == [], second
        await connection.send(b"" if second % 2 else b"x")
        await server.loop.advance(1)
    assert connection.statuses == [408]
    assert not server.state.tasks, "the application still waits for the body"


async def test_the_rest_of_a_body_that_nobody_reads_is_dropped_and_the_connection_closed(server):
    connection = server.connect()
    await connection.send(POST + b"12")
    assert connection.statuses == [200]
    assert b"connection: close" in connection.sent
    assert connection.is_half_closed
    assert connection.is_open, "bytes that nobody has read make the network drop the response"
    await connection.send(b"345")
    await server.loop.advance(0.9)
    await connection.send(GET)
    assert connection.is_open
    await server.loop.advance(1.1)
    assert not connection.is_open
    assert connection.statuses == [200], "the rest of the body was taken for a request"


async def test_a_client_that_never_stops_sending_is_read_for_5_seconds_at_most(server):
    connection = server.connect()
    await connection.send(POST)
    for _ in range(9):
        assert connection.is_open
        await server.loop.advance(0.5)
        await connection.send(b"x" * 1000)
    await server.loop.advance(0.6)
    assert not connection.is_open


async def test_a_body_that_arrives_before_its_response_keeps_the_connection(server):
    connection = server.connect()
    await connection.send(POST + b"1234567890")
    await connection.send(GET)
    assert connection.statuses == [200, 200]
    assert b"connection: close" not in connection.sent


@pytest.mark.parametrize(
    "request_start",
    [
        b"GET /" + b"a" * 33 * KIB,
        HALF_GET + b"x: " + b"y" * 33 * KIB,
        HALF_GET + b"x" * 33 * KIB,
        HALF_GET + b"x: y\r\n" * 6 * KIB,
        HALF_GET + b"x: " + b"y" * 33 * KIB + b"\r\n\r\n",
        b"\r\n" * 17 * KIB,
    ],
    ids=["line", "value", "name", "many", "complete", "empty lines"],
)
@pytest.mark.parametrize("piece", [1000, 64 * KIB])
async def test_headers_beyond_32_kib_are_refused(server, request_start, piece):
    connection = server.connect()
    for start in range(0, len(request_start), piece):
        await connection.send(request_start[start : start + piece])
    assert connection.statuses == [431]
    assert connection.problem["code"] == "headers_too_large"
    assert connection.is_half_closed


async def test_headers_of_31_kib_are_read(server):
    connection = server.connect()
    for _ in range(3):
        await connection.send(HALF_GET + b"x: " + b"y" * 31 * KIB + b"\r\n\r\n")
    assert connection.statuses == [200, 200, 200]


async def test_a_large_body_does_not_count_as_headers():
    server = LimitedServer(read_and_answer)
    connection = server.connect()
    await connection.send(POST.replace(b"10", b"300000"))
    for _ in range(3):
        await connection.send(b"x" * 100_000)
    await connection.send(GET)
    assert connection.statuses == [200, 200]


@pytest.mark.parametrize("trailer", [b"x: " + b"y" * 33 * KIB, b"x: y\r\n" * 6 * KIB], ids=["one", "many"])
async def test_trailers_beyond_32_kib_are_refused(trailer):
    server = LimitedServer(read_and_answer)
    connection = server.connect()
    await connection.send(CHUNKED + b"2\r\nab\r\n0\r\n")
    for start in range(0, len(trailer), 1000):
        await connection.send(trailer[start : start + 1000])
    assert connection.statuses == [431]


async def test_a_trailer_does_not_become_a_header():
    seen = {}

    async def keep_headers(scope, receive, send):
        await read_and_answer(scope, receive, send)
        seen.update(scope["headers"])

    connection = LimitedServer(keep_headers).connect()
    await connection.send(CHUNKED + b"0\r\nauthorization: Bearer x\r\n\r\n")
    assert connection.statuses == [200]
    assert set(seen) == {b"host", b"transfer-encoding"}


async def test_bytes_that_are_no_request_are_answered_with_a_problem(server):
    connection = server.connect()
    await connection.send(b"\x16\x03\x01\x02\x00")
    assert connection.statuses == [400]
    assert connection.problem["code"] == "bad_request"


async def test_a_stream_outlives_every_limit_of_time():
    stream = Stream()
    server = LimitedServer(stream)
    connection = server.connect()
    await connection.send(GET)
    await server.loop.advance(3600)
    assert connection.is_open
    stream.end.set()
    await settle()
    await connection.send(GET)
    assert stream.requests == 2


async def test_a_refusal_does_not_cut_into_the_response_before_it():
    stream = Stream()
    server = LimitedServer(stream)
    connection = server.connect()
    await connection.send(GET + HALF_GET)
    await server.loop.advance(11)
    assert connection.statuses == [200]
    stream.end.set()
    await settle()
    assert connection.statuses == [200]
    assert connection.sent.endswith(b"0\r\n\r\n")
    assert connection.is_half_closed


async def test_requests_sent_ahead_are_answered_in_their_order_up_to_a_limit():
    stream = Stream()
    server = LimitedServer(stream)
    connection = server.connect()
    await connection.send(GET * 5)
    assert stream.requests == 1
    stream.end.set()
    await settle()
    assert connection.statuses == [200] * 5

    stream.end.clear()
    await connection.send(GET * 5000)
    assert len(connection.protocol.pipeline) == 0, "thousands of requests wait in memory"
    stream.end.set()
    await settle()
    assert connection.statuses == [200] * 6
    assert connection.is_half_closed


async def test_a_client_that_takes_nothing_of_a_response_is_disconnected():
    stream = Stream()
    server = LimitedServer(stream)
    connection = server.connect()
    await connection.send(GET)
    await connection.stop_reading(100_000)
    await server.loop.advance(29)
    connection.unsent = 90_000
    await server.loop.advance(29)
    assert connection.is_open, "a slow client is not a silent one"
    await server.loop.advance(32)
    assert connection.is_aborted
    assert connection.protocol.cycle.disconnected


async def test_a_response_that_is_not_taken_keeps_no_closed_connection(server):
    connection = server.connect()
    await connection.send(GET)
    connection.unsent = 500
    await server.loop.advance(21)
    assert connection.is_open
    await server.loop.advance(31)
    assert connection.is_aborted


async def test_connections_beyond_the_limit_are_refused_at_once_and_a_place_that_is_free_again_is_used():
    server = LimitedServer(answer, connections=2)
    first, _second, third = (server.connect() for _ in range(3))
    assert third.statuses == [503]
    assert third.problem["code"] == "too_many_connections"
    assert b"retry-after: " in third.sent
    await server.loop.advance(1.1)
    assert not third.is_open
    first.disconnect()
    fourth = server.connect()
    await fourth.send(GET)
    assert fourth.statuses == [200]


async def test_a_connection_that_is_silent_for_long_gives_way_to_a_new_one():
    stream = Stream()
    server = LimitedServer(stream, connections=3)
    busy = server.connect()
    await busy.send(GET)
    oldest = server.connect()
    await server.loop.advance(1)
    newer = server.connect()
    await server.loop.advance(5)
    new = server.connect()
    assert [each.is_open for each in (busy, oldest, newer, new)] == [True, False, True, True]
    await new.send(GET)
    assert new.statuses == [200]


async def test_a_flood_of_connections_beyond_the_limit_keeps_few_of_them():
    server = LimitedServer(answer, connections=2, refused_connections=3)
    opened = [server.connect() for _ in range(50)]
    assert sum(connection.is_open for connection in opened) == 5
    assert all(connection.statuses == [503] for connection in opened[2:])


async def test_a_connection_has_one_timer_however_many_requests_it_carries(server):
    connection = server.connect()
    for _ in range(200):
        await connection.send(GET)
        await server.loop.advance(0.01)
    assert server.loop.timers == 1
    connection.disconnect()
    assert server.loop.timers == 0


async def test_shutdown_closes_what_is_idle_and_lets_a_response_end():
    stream = Stream()
    server = LimitedServer(stream)
    busy, idle, refused = server.connect(), server.connect(), server.connect()
    await busy.send(GET)
    await refused.send(b"nonsense\r\n\r\n")
    assert refused.is_open
    for connection in list(server.state.connections):
        connection.shutdown()
    assert [each.is_open for each in (busy, idle, refused)] == [True, False, False]
    stream.end.set()
    await settle()
    assert not busy.is_open
    assert busy.sent.endswith(b"0\r\n\r\n")
    assert not server.state.connections


async def test_a_request_for_another_protocol_is_served_without_it_and_is_the_last(server):
    connection = server.connect()
    await connection.send(HALF_GET + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n")
    assert connection.statuses == [200]
    assert b"connection: close" in connection.sent


async def test_a_request_that_outlasts_the_shutdown_is_answered_and_leaves_no_traceback(caplog):
    stream = Stream()

    async def wait_for_ever(_scope, _receive, _send):
        await asyncio.Event().wait()

    for app, statuses in ((wait_for_ever, [503]), (stream, [200])):
        server = LimitedServer(app)
        connection = server.connect()
        await connection.send(GET)
        for task in server.state.tasks:
            task.cancel()
        await settle()
        assert connection.statuses == statuses
        assert not connection.is_open
    assert not caplog.records
