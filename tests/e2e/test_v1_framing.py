"""v1 framing (spec 01 §2): lines in, compact frames out, and which input ends a connection."""
import json

import pytest

from wire import FRAME_LIMIT, Conn, assert_decode_error, assert_error, compact, request

GOOD = compact(request())
NO_JSON = {
    "an empty line": b"",
    "spaces, tabs and CR only": b" \t \r",
    "text that is no JSON": b"{ this is not json }",
    "an HTTP request": b"GET / HTTP/1.1\r",
    "an unfinished object": b'{"messages":[',
    "two values on a line": GOOD + b" " + GOOD,
    "trailing garbage": GOOD + b"x",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "a NUL byte": b"\0" + GOOD,
    "a comma too many": b'{"messages":[],}',
    "a comment": b"/**/" + GOOD,
    "single quotes": GOOD.replace(b'"', b"'"),
    "NaN": b'{"temperature":NaN,' + GOOD[1:],
    "a leading zero": b'{"top_k":01,' + GOOD[1:],
}
BAD_TEXT = {
    "a stray continuation byte": b"\x80",
    "a cut sequence": b"\xe2\x82",
    "an overlong slash": b"\xc0\xaf",
    "an encoded surrogate": b"\xed\xa0\x80",
    "a code point above U+10FFFF": b"\xf4\x90\x80\x80",
    "a byte that UTF-8 never has": b"\xff",
    "a lone high surrogate escape": rb"\ud800",
    "a lone low surrogate escape": rb"\udc00",
    "a high surrogate and no low one": rb"\ud83dx",
    "an escape that does not exist": rb"\q",
    "a cut unicode escape": rb"\u12",
    "a raw control character": b"\x01",
    "a raw tab": b"\t",
    "a raw NUL": b"\0",
}


@pytest.mark.parametrize("line", NO_JSON.values(), ids=NO_JSON)
def test_a_line_that_is_not_one_json_value_gets_a_decode_error_and_the_end(conn, line):
    """P15, spec 01 §2.1: what was sent after it is not answered."""
    conn.send(line + b"\n", request())
    assert_decode_error(conn, ("", "r"))


@pytest.mark.parametrize("field", ["content", "id"])
@pytest.mark.parametrize("text", BAD_TEXT.values(), ids=BAD_TEXT)
def test_a_string_that_is_not_unicode_text_gets_a_decode_error_and_the_end(conn, text, field):
    """Spec 01 §2.1: broken UTF-8, lone surrogates and raw control characters."""
    content, id = (text, b"r") if field == "content" else (b"hi", text)
    conn.send(b'{"id":"%s","messages":[{"role":"user","content":"%s"}]}\n' % (id, content))
    assert_decode_error(conn, ("", "r") if field == "content" else "")


@pytest.mark.parametrize("line", [GOOD + b"\r", b" \t\r" + GOOD + b" \t", GOOD.replace(b":", b" :\t")],
                         ids=["CRLF", "space around", "space inside"])
def test_json_whitespace_is_allowed_around_a_frame(conn, line):
    """Spec 01 §2.1: CRLF and white space are accepted."""
    assert conn.send(line + b"\n").answer()[-1]["type"] == "done"


def test_a_connection_that_sends_nothing_ends_without_a_reply(served):
    """P10, spec 01 §2.1: EOF with nothing accumulated."""
    assert served.connect().half_close().ends()


def test_nothing_is_sent_before_a_request(served):
    """Spec 01 §1: no greeting; the first line is the answer's first frame."""
    assert served.connect().ask()[0]["type"] == "token"


@pytest.fixture(params=["new", "served before", "served before, TCP"])
def talker(request, served, start):
    """A connection at its beginning, or one that the daemon already reads from."""
    conn = (start(tcp="127.0.0.1", tape=["alpha ", "beta ", "gamma"]) if "TCP" in request.param else served).connect()
    if request.param != "new":
        conn.ask()
    return conn


def test_a_last_line_without_lf_is_answered_at_eof(talker):
    """P11, spec 01 §2.1: also when the last bytes and EOF come together."""
    talker.send(GOOD).half_close()
    assert talker.answer()[-1]["content"] == "alpha beta gamma"
    assert talker.ends()


def test_half_a_frame_at_eof_gets_a_decode_error(talker):
    """Spec 01 §2.1: what has no LF at EOF is parsed as a whole frame."""
    assert_decode_error(talker.send(GOOD[:-5]).half_close(), ("", "r"))


def test_requests_and_eof_that_come_together_are_all_answered(talker):
    """Spec 01 §2.1, §5.2: two lines with LF, one without."""
    talker.send(request(id="1"), request(id="2"), compact(request(id="3"))).half_close()
    assert [talker.answer()[-1]["id"] for _ in range(3)] == ["1", "2", "3"]
    assert talker.ends()


def test_frames_of_one_write_are_answered_in_order(conn):
    """P12, D60, spec 01 §5.1."""
    ids = [f"r{n}" for n in range(20)]
    conn.send(*(request(id=id) for id in ids))
    for id in ids:
        frames = conn.answer()
        assert [f["id"] for f in frames] == [id] * 4


def test_a_frame_may_arrive_byte_by_byte(conn):
    """Spec 01 §2: the line is the unit, however it is cut."""
    for byte in GOOD + b"\n":
        conn.send(bytes([byte]))
    assert conn.answer()[-1]["content"] == "alpha beta gamma"


def test_frames_are_compact_and_escaped_as_specified(conn):
    """Spec 01 §2.2: no spaces; `"`, `\\` and controls escaped; `/`, DEL and non-ASCII raw."""
    id = '"\\/\b\f\n\r\t\0\x1f\x7f ü ☃ 𝄞 \u2028'
    conn.send(request(id=id))
    for kind in ("token", "token", "token", "done"):
        line = conn.line()
        frame = json.loads(line)
        assert (frame["type"], frame["id"]) == (kind, id)
        assert line == compact(frame)


def test_escaped_text_is_the_same_as_raw_text(conn):
    """Spec 01 §2.3: any JSON spelling of an id comes back in the one spelling of §2.2."""
    conn.send(GOOD.replace(b'"r"', rb'"\u0041\ud834\udd1e\/\u00fc"') + b"\n")
    assert conn.answer()[-1]["id"] == "A𝄞/ü"


@pytest.fixture(params=["unix", "tcp"])
def dial(request, start):
    return start(tcp="127.0.0.1" if request.param == "tcp" else "").connect


def test_a_line_of_exactly_64_mib_is_accepted(dial):
    """Spec 01 §2.1: the limit test is "greater than", without the LF."""
    conn = dial().send(GOOD[:-1] + b" " * (FRAME_LIMIT - len(GOOD)) + b"}\n")
    assert conn.answer()[-1]["type"] == "done"
    assert conn.ask()[-1]["type"] == "done"


@pytest.mark.parametrize("end", [b"\n", b""], ids=["with LF", "without LF"])
def test_a_line_of_more_than_64_mib_gets_frame_too_large_and_the_end(dial, end):
    """P13, spec 01 §2.1 and README 14: the reply arrives, on TCP too."""
    conn: Conn = dial()
    conn.send_until_closed(GOOD[:-1] + b" " * (FRAME_LIMIT - len(GOOD)) + b" }" + end)
    assert_error(conn.frame(), "frame_too_large", "", "frame exceeds 67108864 byte cap")
    assert conn.ends()
