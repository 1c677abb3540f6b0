"""v1 requests (spec 01 §2.3, §3, §4, §6): which fields are read how, and what an answer looks like."""
import json

import pytest

from wire import assert_decode_error, assert_error, compact, request

HI = '"messages":[{"role":"user","content":"hi"}]'
ACCEPTED = {
    "only messages": {},
    "all common fields": {"temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_tokens": 32, "stream": True,
                          "image_token_budget": 280, "grammar": 'root ::= "a"'},
    "integers where floats are due": {"temperature": 1, "top_p": 1},
    "u32 bounds": {"top_k": 4294967295, "max_tokens": 4294967295, "seed": 4294967295},
    "zeros": {"temperature": 0, "top_k": 0, "max_tokens": 0, "seed": 0},
    "nulls for optional fields": dict.fromkeys(("temperature", "top_p", "top_k", "max_tokens", "stream",
                                                "image_token_budget", "seed", "priority", "local_only")),
    "an unknown field": {"future_field": 42},
    "nested unknown fields": {"future": {"a": [1, {"b": None}], "messages": 5}, "x": [[[[]]]]},
    "an unknown field of 100 levels": {"x": json.loads("[" * 100 + "]" * 100)},
    "interactive": {"priority": "interactive"},
    "batch": {"priority": "batch"},
    "local only": {"local_only": True},
    "not local only": {"local_only": False},
    "no stop": {"stop": []},
    "16 stops of 256 bytes": {"stop": [f"{n:0256}" for n in range(16)]},
    "stop of 256 bytes and 128 characters": {"stop": ["ü" * 128]},
    "many roles": {"messages": [{"role": r, "content": r} for r in ("system", "user", "assistant", "user")]},
    "empty content": {"messages": [{"role": "user", "content": ""}]},
    "unknown field in a message": {"messages": [{"role": "user", "content": "hi", "name": "me"}]},
    "empty grammar": {"grammar": ""},
}
DECODE_ERRORS = {  # field that the message has to name -> bodies after {"id":"r",
    "messages": ['"x":1', '"messages":null', '"messages":"hi"', '"messages":{}', '"messages":[1]', '"messages":[[]]',
                 f"{HI},{HI}"],
    "role": ['"messages":[{"content":"hi"}]', '"messages":[{"role":"tool","content":"hi"}]',
             '"messages":[{"role":"User","content":"hi"}]', '"messages":[{"role":null,"content":"hi"}]',
             '"messages":[{"role":"user","role":"user","content":"hi"}]'],
    "content": ['"messages":[{"role":"user"}]', '"messages":[{"role":"user","content":null}]',
                '"messages":[{"role":"user","content":7}]', '"messages":[{"role":"user","content":["hi"]}]',
                '"messages":[{"role":"user","content":"a","content":"b"}]'],
    "temperature": [f'{HI},"temperature":{v}' for v in ('"1"', "true", "1e400", "[]")]
                   + [f'"temperature":1,"temperature":1,{HI}'],
    "top_p": [f'{HI},"top_p":{v}' for v in ('"0.9"', "{}", "-1e999")],
    "top_k": [f'{HI},"top_k":{v}' for v in ("64.0", "-1", "4294967296", '"64"', "1e2", "true")],
    "max_tokens": [f'{HI},"max_tokens":{v}' for v in ("1.5", "-1", "4294967296", '"9"', "99999999999999999999999")],
    "stream": [f'{HI},"stream":{v}' for v in ('"true"', "1", "[]")],
    "image_token_budget": [f'{HI},"image_token_budget":{v}' for v in ('"70"', "70.0")],
    "grammar": [f'{HI},"grammar":{v}' for v in ("null", "5", "[]")],
    "seed": [f'{HI},"seed":{v}' for v in ('"1"', "-1", "1.0", "4294967296")],
    "stop": [f'{HI},"stop":{v}' for v in ('"x"', "5", '{"a":"b"}', "[1]", '["a",null]')],
    "priority": [f'{HI},"priority":{v}' for v in ("1", "true", '["batch"]')],
    "local_only": [f'{HI},"local_only":{v}' for v in ('"true"', "1")],
}
REFUSED = {  # semantic errors: the connection stays
    "no messages": ("messages", {"messages": []}),
    "17 stops": ("stop", {"stop": [str(n) for n in range(17)]}),
    "an empty stop": ("stop", {"stop": ["a", ""]}),
    "a stop of 257 bytes": ("stop", {"stop": ["x" * 257]}),
    "a stop of 257 bytes and fewer characters": ("stop", {"stop": ["ü" * 128 + "x"]}),
    "an unknown priority": ("priority", {"priority": "x"}),
    "an empty priority": ("priority", {"priority": ""}),
    "a priority in capitals": ("priority", {"priority": "Batch"}),
    **{f"image_token_budget {n}": ("image_token_budget", {"image_token_budget": n}) for n in (0, 69, 999, 4294967295)},
}


def test_an_answer_is_a_token_frame_per_piece_and_a_done_frame_with_the_whole_text(conn):
    """D46, P7, P9, E1, spec 01 §6; README 3 for the additive last keys."""
    assert conn.ask("hi", id="a1") == [
        *({"type": "token", "id": "a1", "content": piece} for piece in ("alpha ", "beta ", "gamma")),
        {"type": "done", "id": "a1", "content": "alpha beta gamma",
         "usage": {"prompt_tokens": 0, "completion_tokens": 3, "cached_prompt_tokens": 0},
         "stop_reason": "end", "backend": "mock", "route": "mock"},
    ]


def test_keys_have_their_fixed_order_and_additive_keys_come_last(conn):
    """Spec 01 §2.2, §6, README 3."""
    *tokens, done = conn.ask()
    assert all(list(token) == ["type", "id", "content"] for token in tokens)
    assert list(done) == ["type", "id", "content", "usage", "stop_reason", "backend", "route"]
    assert list(done["usage"]) == ["prompt_tokens", "completion_tokens", "cached_prompt_tokens"]


def test_the_default_tape_is_one_piece(start):
    """Spec 08 §2: the mock's answer without any option."""
    assert [f["content"] for f in start().connect().ask()] == ["mock-response"] * 2


def test_an_empty_tape_gives_done_alone_and_an_empty_piece_a_frame(start, place):
    """Spec 01 §6: zero tokens before done is legal, and so is an empty token."""
    daemon = start(tape=[])
    [done] = daemon.connect().ask()
    assert (done["content"], done["usage"]["completion_tokens"]) == ("", 0)
    daemon.stop()
    assert [f["content"] for f in start(tape=["", "ü☃𝄞", ""]).connect().ask()] == ["", "ü☃𝄞", "", "ü☃𝄞"]


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_a_valid_request_is_answered(conn, fields):
    """P1, P2, P5, P6, spec 01 §2.3, §3, README 3."""
    assert conn.text(**fields) == "alpha beta gamma"


@pytest.mark.parametrize("budget", [70, 140, 280, 560, 1120])
def test_an_image_token_budget_of_the_set_is_accepted(conn, budget):
    """P5."""
    assert conn.text(image_token_budget=budget) == "alpha beta gamma"


@pytest.mark.parametrize("field, body", [(f, b) for f, bodies in DECODE_ERRORS.items() for b in bodies])
def test_a_field_of_the_wrong_shape_gets_a_decode_error_that_names_it_and_the_end(conn, field, body):
    """Spec 01 §2.1, §2.3 and §4 step 1, README 2 (the id that was read comes back)."""
    conn.send(f'{{"id":"r",{body}}}\n'.encode(), request())
    assert_decode_error(conn, "r", field)


@pytest.mark.parametrize("id", ["null", "5", "[]", "{}", '"a","id":"b"'])
def test_an_id_that_is_no_string_gets_a_decode_error_that_names_it(conn, id):
    """Spec 01 §2.3: `id` null, of another type, or given twice."""
    conn.send(f'{{"id":{id},{HI}}}\n'.encode())
    assert_decode_error(conn, ("", "a"), "id")


@pytest.mark.parametrize("line", ["[]", "42", '"hi"', "null", "true", "{}"])
def test_json_that_is_no_request_object_gets_a_decode_error(conn, line):
    """Spec 01 §4 step 1."""
    conn.send(line.encode() + b"\n")
    assert_decode_error(conn)


@pytest.mark.parametrize("field, fields", REFUSED.values(), ids=REFUSED)
def test_a_value_out_of_bounds_is_refused_by_name_and_the_connection_stays(conn, field, fields):
    """P3, P4, D47, spec 01 §4 steps 2 and 3, README 3 and 6."""
    [error] = conn.ask(id="bad", **fields)
    assert_error(error, "invalid_request", "bad", field)
    assert conn.text(id="good") == "alpha beta gamma"


def test_the_published_texts_of_refusals_are_kept(conn):
    """Spec 01 §4 steps 2 and 3."""
    assert conn.ask(messages=[])[0]["message"] == "invalid request: messages must not be empty"
    assert (conn.ask(image_token_budget=999)[0]["message"]
            == "invalid request: image_token_budget 999 not in [70, 140, 280, 560, 1120]")


@pytest.mark.parametrize("id", ["", " ", "a1", "ü☃𝄞", "x" * 100_000, '{"type":"done"}\n', "a\0b"],
                         ids=["empty", "space", "plain", "non-ASCII", "100 kB", "JSON and LF", "NUL"])
def test_any_string_is_an_id_and_comes_back_on_every_frame(conn, id):
    """Spec 01 §3: no uniqueness, length or charset check."""
    assert {f["id"] for f in conn.ask(id=id)} == {id}


def test_an_absent_id_is_the_empty_string(conn):
    """Spec 01 §3."""
    assert {f["id"] for f in conn.send(f"{{{HI}}}\n".encode()).answer()} == {""}


def test_a_connection_serves_many_requests_good_and_refused(conn):
    """Spec 01 §5.1: sequential, kept open after terminal frames."""
    for n in range(50):
        assert_error(conn.ask(id=f"bad{n}", messages=[])[0], "invalid_request", f"bad{n}")
        assert conn.ask(id=f"good{n}")[-1]["id"] == f"good{n}"


def test_a_request_of_several_megabytes_is_answered_in_its_turn(conn):
    """Spec 01 §5.1: order holds although big frames are parsed elsewhere."""
    conn.send(request("x" * 5_000_000, id="big"), request(id="small"), request(id="bad", messages=[]))
    assert [conn.answer()[-1]["id"] for _ in range(3)] == ["big", "small", "bad"]


def test_connections_are_answered_independently(served):
    """Spec 01 §5.1: sequence holds within one connection only."""
    first, second = served.connect(), served.connect()
    first.send(compact(request())[:20])
    assert second.text() == "alpha beta gamma"
    assert first.send(compact(request())[20:] + b"\n").answer()[-1]["type"] == "done"


def test_an_auth_frame_on_a_unix_socket_is_a_request_without_messages(conn):
    """Spec 01 §8.7."""
    conn.send({"type": "auth", "key": "k"})
    assert_decode_error(conn, "", "messages")


@pytest.mark.parametrize("fault, code, message", [("unavailable", "backend_unavailable", "mock"),
                                                  ("not-ready", "backend_unavailable", "backend not ready")])
def test_a_backend_that_fails_to_start_requests_is_named_and_after_three_left_out(start, fault, code, message):
    """E2, E3, spec 01 §4 steps 5 and 6, spec 06 §3: the connection stays, the breaker opens at three failures."""
    conn = start(fault=fault).connect()
    for _ in range(3):
        [error] = conn.ask()
        assert_error(error, code, "r", message)
    [error] = conn.ask()
    assert_error(error, "backend_unavailable", "r", "no backend available")


def test_requests_that_the_backend_calls_invalid_are_never_counted_by_the_breaker(start):
    """Spec 01 §4 step 6, spec 06 §3, README 6."""
    conn = start(fault="invalid").connect()
    for _ in range(5):
        [error] = conn.ask()
        assert_error(error, "invalid_request", "r", "mock")


def test_a_stream_that_breaks_ends_with_an_error_after_its_tokens(start):
    """D48, E4, spec 01 §4 step 7."""
    conn = start(tape=["a", "b", "c"], fault="drop-after:2").connect()
    first, second, error = conn.ask()
    assert [first["content"], second["content"]] == ["a", "b"]
    assert_error(error, "backend_unavailable", "r", "backend ended stream without terminal frame")
    assert len(conn.ask()) == 3
