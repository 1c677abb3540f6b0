"""`stream: false` (README 1): one frame with the whole text."""
from wire import assert_error, request


def test_stream_false_gives_one_done_frame_with_the_whole_text(conn):
    """README 1: no token frames; usage and keys as with a stream."""
    streamed = conn.ask(stream=True)[-1]
    assert conn.ask(stream=False) == [streamed]
    assert streamed["content"] == "alpha beta gamma"


def test_stream_true_and_null_and_absent_stream(conn):
    """P2, spec 01 §3: the default is true."""
    answers = [conn.ask(**fields) for fields in ({}, {"stream": True}, {"stream": None})]
    assert [len(frames) for frames in answers] == [4, 4, 4]


def test_each_request_of_a_connection_has_its_own_choice(conn):
    """README 1: the flag belongs to the request."""
    conn.send(*(request(id=str(n), stream=n % 2 == 0) for n in range(6)))
    assert [len(conn.answer()) for _ in range(6)] == [4, 1] * 3


def test_a_refusal_is_one_error_frame_without_a_stream_too(conn):
    """Spec 01 §4."""
    [error] = conn.ask(stream=False, messages=[])
    assert_error(error, "invalid_request", says="messages")


def test_a_stream_that_breaks_gives_one_error_frame_and_no_text(start):
    """D48 with README 1: nothing of the unfinished answer is sent as an answer."""
    [error] = start(tape=["a", "b"], fault="drop-after:1").connect().ask(stream=False)
    assert_error(error, "backend_unavailable", says="backend ended stream without terminal frame")


def test_a_long_answer_comes_whole_in_one_frame(start):
    """README 1: 10,000 pieces."""
    [done] = start(tape=["piece "] * 10_000).connect().ask(stream=False)
    assert done["content"] == "piece " * 10_000
    assert done["usage"]["completion_tokens"] == 10_000
