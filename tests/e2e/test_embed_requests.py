"""Requests for embeddings on the mock (spec 03): what is read, what is refused with which words, and the answer to the byte. The mock's vector
for a text of n bytes is 1/(n+1), 2/(n+1), ... Tests of the published checklist (spec 10) carry its number."""
import json
import re
import struct

import pytest

from daemon_process import HELD
from llama_fixtures import memory_mib
from surfaces import EMBED, embed_request, served, start_on_tcp  # noqa: F401
from test_v1_framing import BAD_TEXT
from wire import FRAME_LIMIT, assert_decode_error, assert_error, compact

PREFIX = "invalid request: "
WIDTH, WIDEST = 8, 65_536
TASKS = ("retrieval_query", "retrieval_document", "similarity", "classification", "clustering", "question_answering", "fact_verification",
         "code_retrieval_query")


def rounded(value: float) -> float:
    """To 32 bits."""
    return struct.unpack("f", struct.pack("f", value))[0]


def number(value: float) -> str:
    """A 32-bit float in the form of spec 03 §5."""
    digits, exponent = next(text for text in (f"{value:.{n}e}" for n in range(9)) if rounded(float(text)) == value).split("e")
    exponent = int(exponent)
    if not -6 <= exponent <= 12:
        return f"{digits}e{exponent:+d}"
    decimals = max(1, len(digits.replace(".", "")) - 1 - exponent)
    return f"{float(f'{digits}e{exponent}'):.{decimals}f}"


def vector(text: str, dimensions: int = WIDTH) -> list[float]:
    return [rounded((n + 1) / (len(text.encode()) + 1)) for n in range(dimensions)]


def answer(*texts: str, id: str = "r", dimensions: int = WIDTH) -> bytes:
    """The line that answers these texts."""
    vectors = ",".join("[%s]" % ",".join(map(number, vector(text, dimensions))) for text in texts)
    tokens = sum(len(text.encode()) for text in texts)
    return (b'{"type":"embeddings","id":%s,"embeddings":[%s],"dimensions":%d,"model":"mock","usage":{"input_tokens":%d},"backend":"mock",'
            b'"route":"mock"}' % (compact(id), vectors.encode(), dimensions, tokens))


@pytest.fixture
def conn(served):
    connection = EMBED.dial(served)
    yield connection
    connection.close()


# ---------------------------------------------------------------- answers


def test_p32_e9_an_answer_is_one_frame_with_a_vector_for_each_text(conn):
    """P32, E9, spec 03 §5; README 3 for the additive last key."""
    [frame] = conn.ask("hello", "world!", id="e1")
    assert list(frame) == ["type", "id", "embeddings", "dimensions", "model", "usage", "backend", "route"]
    assert frame | {"embeddings": None} == {"type": "embeddings", "id": "e1", "embeddings": None, "dimensions": 8, "model": "mock",
                                            "usage": {"input_tokens": 11}, "backend": "mock", "route": "mock"}
    assert [[rounded(value) for value in row] for row in frame["embeddings"]] == [vector("hello"), vector("world!")]


@pytest.mark.parametrize("sizes", [(1, 2, 3, 5, 6), (99,), (999_999,), (9_999_999,), (19_999_999,), (123_456,), (700_000, 1)], ids=str)
def test_numbers_have_the_shortest_text_in_the_published_form(conn, sizes):
    """Spec 03 §5: fixed from 1e-6, scientific below; the frame is compact."""
    texts = ["x" * size for size in sizes]
    assert conn.send(embed_request(*texts)).line() == answer(*texts)


def test_the_form_of_numbers_is_the_one_that_the_spec_shows(conn):
    """Spec 03 §5, by example: what the test above compares with is right."""
    examples = {1.0: "1.0", 1.5e-7: "1.5e-7", 3e13: "3e+13", 1e-6: "0.000001", 1e12: "1000000000000.0", 0.1: "0.1", 16777216: "16777216.0",
                123.456: "123.456", 1 / 6: "0.16666667", 1e-45: "1e-45", 3.4028235e38: "3.4028235e+38", 1e-7: "1e-7"}
    assert {value: number(rounded(value)) for value in examples} == examples
    assert b"[0.00000005,0.0000001" not in (line := conn.send(embed_request("x" * 19_999_999)).line()) and b"[5e-8,1e-7,1.5e-7,2e-7," in line


def test_texts_are_counted_in_bytes_of_utf_8(conn):
    """Spec 03 §5: mock."""
    assert conn.send(embed_request("ü☃𝄞")).line() == answer("ü☃𝄞")
    assert conn.ask("ü☃𝄞")[0]["usage"] == {"input_tokens": 9}


def test_a_thousand_texts_come_back_in_their_order(conn):
    """Spec 03 §5: `embeddings[i]` belongs to `input[i]`."""
    texts = ["x" * (n * 7919 % 1009 + 1) for n in range(1000)]
    assert conn.send(embed_request(*texts)).line() == answer(*texts)


def test_the_same_text_twice_has_two_vectors(conn):
    first, second = conn.ask("same", "same")[0]["embeddings"]
    assert first == second


@pytest.mark.parametrize("dimensions", [1, 3, 8, 256, 768, WIDEST])
def test_e10_dimensions_are_the_length_of_each_vector(conn, dimensions):
    """E10, spec 03 §2; README 7: 65,536 on mock."""
    assert conn.send(embed_request("hello", "b", dimensions=dimensions)).line() == answer("hello", "b", dimensions=dimensions)


@pytest.mark.parametrize("id", ["", " ", "ü☃𝄞", "x" * 100_000, '{"type":"error"}\n', "a\0b"],
                         ids=["empty", "space", "non-ASCII", "100 kB", "JSON and LF", "NUL"])
def test_any_string_is_an_id_and_comes_back(conn, id):
    """Spec 03 §2."""
    assert conn.send(embed_request("hi", id=id)).line() == answer("hi", id=id)
    assert_error(conn.ask(id=id, input=[])[0], "invalid_request", id)


def test_an_absent_id_is_the_empty_string(conn):
    """Spec 03 §2."""
    assert conn.send({"input": ["hi"]}).line() == answer("hi", id="")


# ---------------------------------------------------------------- what is accepted

ACCEPTED = {
    "p28: one text": {"input": ["hello"]},
    "p29: dimensions and task": {"dimensions": 256, "task": "retrieval_document"},
    "nulls for optional fields": {"dimensions": None, "task": None, "local_only": None},
    "white space": {"input": [" ", "\n", "\t \r", "\0"]},
    "local only": {"local_only": True},
    "an unknown field": {"future_field": {"input": [5]}},
    "fields of other surfaces, of whatever type": {"messages": 5, "stream": "no", "temperature": [], "priority": "x", "stop": 1},
    "an unknown field of 100 levels": {"x": json.loads("[" * 100 + "]" * 100)},
    **{f"task {task}": {"task": task} for task in TASKS},
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_a_valid_request_is_answered(conn, fields):
    """Spec 03 §2 and §3."""
    asked = {"input": ["hi"]} | fields
    dimensions = asked.get("dimensions") or WIDTH
    assert conn.send(embed_request(**asked)).line() == answer(*asked["input"], dimensions=dimensions)


def test_order_of_keys_and_escapes_do_not_matter(conn):
    """Spec 01 §2.3."""
    conn.send(b' {"task" : "similarity", "input":["\\u0061\\ud834\\udd1e"] ,"id":"\\u0072"}\r\n')
    assert conn.line() == answer("a𝄞")


# ---------------------------------------------------------------- decode errors

HI = '"input":["hi"]'
DECODE_ERRORS = {  # what the message has to name -> bodies after {"id":"r",
    "`input`": ['"x":1', '"input":null', '"input":"hi"', '"input":{}', '"input":5', f"{HI},{HI}"],
    "`input[1]`": ['"input":["a",5]', '"input":["a",null,"b"]', '"input":["a",["b"]]'],
    "`dimensions`": [f'{HI},"dimensions":{value}' for value in ("-1", "1.0", "4294967296", '"256"', "true", "[]", "1e2")]
                    + [f'{HI},"dimensions":1,"dimensions":1'],
    "`task`": [f'{HI},"task":{value}' for value in ("5", "true", '["similarity"]', "{}")] + [f'{HI},"task":"similarity","task":null'],
    "`local_only`": [f'{HI},"local_only":{value}' for value in ('"true"', "1")],
}


@pytest.mark.parametrize("named, body", [(named, body) for named, bodies in DECODE_ERRORS.items() for body in bodies])
def test_a_field_of_the_wrong_shape_gets_a_decode_error_that_names_it_and_the_end(conn, named, body):
    """Spec 03 §2, spec 01 §2.1 and §2.3, README 2 (the id that was read comes back)."""
    conn.send(f'{{"id":"r",{body}}}\n'.encode(), embed_request())
    assert_decode_error(conn, "r", named)


@pytest.mark.parametrize("id", ["null", "5", "[]", '"a","id":"b"'])
def test_an_id_that_is_no_string_gets_a_decode_error_that_names_it(conn, id):
    """Spec 01 §2.3."""
    assert_decode_error(conn.send(f'{{"id":{id},{HI}}}\n'.encode()), ("", "a"), "id")


@pytest.mark.parametrize("line", [b"{ this is not json }", b"", b" \t\r", b"[]", b'["hi"]', b"null", b"{}", b'{"input":[',
                                  compact(embed_request()) + b"{}"], ids=repr)
def test_a_line_that_is_no_request_gets_a_decode_error_and_the_end(conn, line):
    """Spec 01 §2.1."""
    conn.send(line + b"\n", embed_request())
    assert_decode_error(conn, ("", "r"))


@pytest.mark.parametrize("text", BAD_TEXT.values(), ids=BAD_TEXT)
def test_a_text_that_is_no_unicode_gets_a_decode_error_and_the_end(conn, text):
    """Spec 01 §2.1."""
    assert_decode_error(conn.send(b'{"id":"r","input":["%s"]}\n' % text), ("", "r"))


def test_more_values_than_a_frame_may_have_get_a_decode_error(conn):
    """README 7: counts are bounded before anything is allocated for them."""
    conn.send(b'{"id":"r","input":[' + b'"a",' * 1_500_000 + b'"a"]}\n')
    assert_decode_error(conn, ("", "r"), "too many values")


# ---------------------------------------------------------------- validation: spec 03 §3

REFUSED = {
    "p28, row 1: no text": ({"input": []}, PREFIX + "input must not be empty"),
    "p28, row 2: an empty text": ({"input": ["hello", ""]}, PREFIX + "input[1] must not be empty"),
    "row 2: the first of several": ({"input": ["", "x", ""]}, PREFIX + "input[0] must not be empty"),
    "p30, row 3: a task of the future": ({"task": "some_future_task"}, PREFIX + "task uses an unknown variant"),
    "p30, row 3: what libraries write for it": ({"task": "other"}, PREFIX + "task uses an unknown variant"),
    "row 3: an empty task": ({"task": ""}, PREFIX + "task uses an unknown variant"),
    "row 3: a task in capitals": ({"task": "Similarity"}, PREFIX + "task uses an unknown variant"),
    "row 1 before row 3": ({"input": [], "task": "x", "dimensions": 0}, PREFIX + "input must not be empty"),
    "row 2 before row 3": ({"input": [""], "task": "x"}, PREFIX + "input[0] must not be empty"),
    "row 3 before dimensions": ({"task": "x", "dimensions": 0}, PREFIX + "task uses an unknown variant"),
    "no dimensions at all": ({"dimensions": 0}, PREFIX + "dimensions must be at least 1"),
    "more dimensions than there may be": ({"dimensions": WIDEST + 1}, f"dimensions {WIDEST + 1} exceeds {WIDEST}"),
    "the most dimensions that can be written": ({"dimensions": 4294967295}, f"dimensions 4294967295 exceeds {WIDEST}"),
}


@pytest.mark.parametrize("fields, says", REFUSED.values(), ids=REFUSED)
def test_what_is_invalid_is_refused_in_the_published_words_and_the_connection_stays(conn, fields, says):
    """Spec 03 §3 by rows; README 7 for dimensions."""
    [error] = conn.ask(id="bad", **fields)
    assert_error(error, "invalid_request", "bad")
    assert error["message"] == says
    assert conn.send(embed_request("hi")).line() == answer("hi")


@pytest.mark.parametrize("texts, dimensions", [(900, WIDEST), (400_000, 64)], ids=str)
def test_an_answer_that_no_frame_holds_is_refused_with_both_sizes_before_any_work(start, texts, dimensions):
    """Issue 4, spec 03 §5 put right: the connection stays, and numbers and frame, 300 MB and more, are never there."""
    conn = EMBED.dial(daemon := start("--embed"))
    assert EMBED.works(conn)
    before = memory_mib(daemon.pid, "VmHWM")
    [error] = conn.ask(*["x"] * texts, dimensions=dimensions)
    assert error["type"] == "error", "it was answered"
    assert_error(error, "invalid_request")
    sizes = [float(size) for size in re.findall(r"([\d.]+) MiB", error["message"])]
    assert len(sizes) == 2 and sizes[0] > sizes[1] == 64 and str(texts) in error["message"] and str(dimensions) in error["message"], error
    assert memory_mib(daemon.pid, "VmHWM") - before < 150
    assert conn.send(embed_request("hi")).line() == answer("hi")


def test_an_answer_of_megabytes_is_sent(conn):
    """Spec 03 §5: what fits one frame."""
    texts = ["x" * (n + 1) for n in range(40)]
    line = conn.send(embed_request(*texts, dimensions=WIDEST)).line()
    assert 10 << 20 < len(line) < FRAME_LIMIT
    frame = json.loads(line)
    assert [len(row) for row in frame["embeddings"]] == [WIDEST] * 40
    assert [rounded(row[-1]) for row in frame["embeddings"]] == [vector(text, WIDEST)[-1] for text in texts]


# ---------------------------------------------------------------- framing and order


def test_requests_of_one_write_are_answered_in_order_with_one_frame_each(conn):
    """Spec 03 §1, C3."""
    conn.send(*(embed_request(id, id=id) for id in "abc"), embed_request(id="bad", input=[]), embed_request("d", id="d"))
    assert [conn.line() for _ in range(3)] == [answer(id, id=id) for id in "abc"]
    assert_error(conn.frame(), "invalid_request", "bad")
    assert conn.line() == answer("d", id="d")


def test_megabytes_of_text_are_answered_in_their_turn(conn):
    """Architecture §3: big frames are parsed on the pool, order holds all the same."""
    many = ["x" * (n % 100 + 1) for n in range(10_000)]
    conn.send(embed_request(id="first"), embed_request("x" * 5_000_000, id="long"), embed_request(id="small"),
              embed_request(*many, id="many", dimensions=1), embed_request("x" * 1_000_000, "", id="bad"), embed_request(id="last"))
    assert [conn.frame()["id"] for _ in range(6)] == ["first", "long", "small", "many", "bad", "last"]


def test_a_request_of_exactly_64_mib_is_answered(conn):
    """Spec 01 §2.1: the limit test is "greater than", without the LF."""
    frame = {"id": "r", "dimensions": 1, "input": ["x" * (FRAME_LIMIT - len(compact({"id": "r", "dimensions": 1, "input": [""]})))]}
    assert len(compact(frame)) == FRAME_LIMIT
    assert conn.send(frame).frame()["usage"] == {"input_tokens": len(frame["input"][0])}


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_request_of_more_than_64_mib_gets_frame_too_large_and_the_end(start, tcp):
    """P13, spec 01 §2.1, README 14: the reply arrives, on TCP too."""
    conn = EMBED.dial(*start_on_tcp(start, EMBED)) if tcp else EMBED.dial(start("--embed"))
    line = compact(embed_request("x" * FRAME_LIMIT))
    conn.send_until_closed(line[:FRAME_LIMIT] + b"x\n")
    assert_error(conn.frame(), "frame_too_large", "", "frame exceeds 67108864 byte cap")
    assert conn.ends()


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_half_close_gets_all_answers_and_then_eof(start, tcp):
    """Spec 01 §2.1, §5.2, README 11: the last line without its LF."""
    conn = EMBED.dial(*start_on_tcp(start, EMBED)) if tcp else EMBED.dial(start("--embed"))
    conn.send(embed_request("a"), embed_request("x" * 1_000_000, dimensions=10_000), compact(embed_request("c"))).half_close()
    assert [conn.line() for _ in range(3)] == [answer("a"), answer("x" * 1_000_000, dimensions=10_000), answer("c")]
    assert conn.ends()


def test_half_a_frame_at_eof_gets_a_decode_error(conn):
    """Spec 01 §2.1."""
    assert_decode_error(conn.send(compact(embed_request())[:-5]).half_close(), ("", "r"))


def test_clients_that_leave_with_their_requests_on_the_way_leave_nothing(start):
    """README 11: half a line, a line that is being parsed, an answer of megabytes that nobody reads."""
    daemon = start("--embed")
    EMBED.works(EMBED.dial(daemon))
    big = compact(embed_request("x" * 3_000_000)) + b"\n"
    for n in range(12):
        EMBED.dial(daemon).send((big[:-1], big, compact(embed_request("x", dimensions=WIDEST)) + b"\n")[n % 3]).close()
    daemon.settle()
    assert EMBED.dial(daemon).send(embed_request("hi")).line() == answer("hi")


def test_a_connection_serves_many_requests_good_and_refused(conn):
    """Spec 01 §5.1."""
    for n in range(50):
        assert_error(conn.ask(id=f"bad{n}", input=[""])[0], "invalid_request", f"bad{n}")
        assert conn.ask(id=f"good{n}")[0]["id"] == f"good{n}"


# ---------------------------------------------------------------- backends that fail


@pytest.mark.parametrize("fault, message", [("unavailable", "mock"), ("not-ready", "backend not ready")])
def test_e11_e12_a_backend_that_fails_is_named_and_after_three_left_out(start, fault, message):
    """E11, E12, spec 03 §4, spec 06 §3."""
    conn = EMBED.dial(start("--embed", fault=fault))
    for _ in range(3):
        [error] = conn.ask()
        assert_error(error, "backend_unavailable")
        assert error["message"] == message
    assert_error(conn.ask()[0], "backend_unavailable", says="no backend available")


def test_requests_that_the_backend_calls_invalid_are_never_counted_by_the_breaker(start):
    """Spec 03 §4, README 6; too many dimensions are the caller's fault as well."""
    conn = EMBED.dial(start("--embed", fault="invalid"))
    for _ in range(5):
        assert_error(conn.ask()[0], "invalid_request", says="mock")
        assert_error(conn.ask(dimensions=WIDEST + 1)[0], "invalid_request")


def test_embeddings_are_made_while_the_only_place_for_text_is_taken(start):
    """README 9: they have a place of their own, and need no waiting one."""
    daemon = start("--embed", "--queue-depth", "0", delay_ms=HELD)
    daemon.submit("running")
    assert_error(daemon.connect().ask()[0], "queue_full")
    assert EMBED.dial(daemon).send(embed_request("hi")).line() == answer("hi")
