"""v2 requests (spec 02): which blocks, attachments and tools are read how, what is refused with which words, what an answer looks like.
Tests of the published checklist (spec 10) carry its number."""
import json
from pathlib import Path

import pytest

from daemon_process import HELD
from surfaces import ENDLESS, TAPE, TEXT, V2, message, served, start_on_tcp, text, text_deltas, use, v2_request  # noqa: F401
from wire import FRAME_LIMIT, assert_decode_error, assert_error, compact

GOLDEN = Path(__file__).resolve().parents[1] / "golden/v2"
PREFIX = "invalid request: "
IMAGE = {"kind": "image", "id": "img", "width": 2, "height": 1, "bytes": "AAECAwQF"}
AUDIO = {"kind": "audio", "id": "snd", "sample_rate": 16000, "bytes": "AAAAAA=="}
VIDEO = {"kind": "video", "id": "vid", "bytes": ""}
MEDIA = [IMAGE, AUDIO, VIDEO]
TOOL = {"name": "look_up", "description": "Looks a word up.",
        "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}}
SCHEMA = {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
UNKNOWN = {"type": "document", "url": "https://example.com/a.pdf"}


def call(input, id="c1", name="look_up"):
    return {"type": "tool_use", "tool_call_id": id, "name": name, "input": input}


def result(*content, id="c1"):
    return {"type": "tool_result", "tool_call_id": id, "content": [text(block) if isinstance(block, str) else block for block in content]}


def nested(results, innermost):
    """Results within results."""
    for _ in range(results):
        innermost = result(innermost)
    return innermost


@pytest.fixture
def conn(served):
    connection = V2.dial(served)
    yield connection
    connection.close()


# ---------------------------------------------------------------- answers


def test_d56_an_answer_is_a_text_frame_per_piece_and_a_done_frame(conn):
    """D56, P23, P25, E1, spec 02 §5; README 3 for the additive last keys."""
    assert conn.ask(id="a1") == [
        *({"type": "frame", "id": "a1", "block": {"type": "text", "delta": piece}} for piece in TAPE),
        {"type": "done", "id": "a1", "usage": {"input_tokens": 0, "output_tokens": 3, "cached_input_tokens": 0},
         "stop_reason": "end_turn", "backend": "mock", "route": "mock"},
    ]


def test_keys_have_their_fixed_order_and_additive_keys_come_last(conn):
    """Spec 02 §5, README 3; there is no `content` in `done`."""
    *frames, done = conn.ask()
    assert all((list(frame), list(frame["block"])) == (["type", "id", "block"], ["type", "delta"]) for frame in frames)
    assert list(done) == ["type", "id", "usage", "stop_reason", "backend", "route"]
    assert list(done["usage"]) == ["input_tokens", "output_tokens", "cached_input_tokens"]


def test_frames_are_compact_and_escaped_as_specified(start):
    """Spec 01 §2.2, which v2 shares."""
    words = '"\\/\b\f\n\r\t\0\x1f\x7f ü ☃ 𝄞 \u2028'
    conn = V2.dial(start("--v2", tape=[words]))
    conn.send(v2_request(id=words))
    for kind in ("frame", "done"):
        line = conn.line()
        frame = json.loads(line)
        assert (frame["type"], frame["id"]) == (kind, words)
        assert line == compact(frame)


def test_an_empty_tape_gives_done_alone_and_an_empty_piece_a_frame(start):
    """Spec 02 §5: mock sends its tape verbatim."""
    daemon = start("--v2", tape=[])
    [done] = V2.dial(daemon).ask()
    assert (done["type"], done["usage"]["output_tokens"]) == ("done", 0)
    daemon.stop()
    *frames, _ = V2.dial(start("--v2", tape=["", "ü☃𝄞", ""])).ask()
    assert text_deltas(frames) == ["", "ü☃𝄞", ""]


@pytest.mark.parametrize("id", ["", " ", "ü☃𝄞", "x" * 100_000, '{"type":"done"}\n', "a\0b"],
                         ids=["empty", "space", "non-ASCII", "100 kB", "JSON and LF", "NUL"])
def test_any_string_is_an_id_and_comes_back_on_every_frame(conn, id):
    """Spec 02 §2."""
    assert {frame["id"] for frame in conn.ask(id=id)} == {id}
    assert_error(conn.ask(id=id, messages=[])[0], "invalid_request", id)


def test_an_absent_id_is_the_empty_string(conn):
    """Spec 02 §2."""
    assert {frame["id"] for frame in conn.send({"messages": [message("hi")]}).answer()} == {""}


# ---------------------------------------------------------------- stream: false


def test_stream_false_gives_one_whole_block_and_done(conn):
    """README 1."""
    assert conn.ask(stream=False) == [{"type": "frame", "id": "r", "block": {"type": "text", "delta": TEXT}}, conn.ask()[-1]]


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"stream": None}], ids=str)
def test_stream_true_null_and_absent_stream(conn, fields):
    """Spec 02 §2."""
    assert len(conn.ask(**fields)) == 4


def test_each_request_of_a_connection_has_its_own_choice(conn):
    """README 1: the flag belongs to the request, and nothing of one answer gets into the next."""
    conn.send(*(v2_request(id=str(n), stream=n % 2 == 0) for n in range(6)))
    for n in range(6):
        *frames, _ = conn.answer()
        assert text_deltas(frames) == (TAPE if n % 2 == 0 else [TEXT])


def test_stream_false_of_an_empty_answer_is_done_alone(start):
    """README 1: there is no block."""
    assert [frame["type"] for frame in V2.dial(start("--v2", tape=[])).ask(stream=False)] == ["done"]


def test_a_long_answer_comes_whole_in_one_frame(start):
    """README 1: 10,000 pieces."""
    [frame, done] = V2.dial(start("--v2", tape=["piece "] * 10_000)).ask(stream=False)
    assert text_deltas([frame]) == ["piece " * 10_000]
    assert done["usage"]["output_tokens"] == 10_000


def test_a_stream_that_breaks_gives_one_error_frame_and_no_block(start):
    """D61 with README 1: nothing of the unfinished answer is sent as an answer, nor with the next one."""
    conn = V2.dial(start("--v2", tape=["a", "b"], fault="drop-after:1"))
    for _ in range(2):
        [error] = conn.ask(stream=False)
        assert_error(error, "backend_unavailable", says="backend ended stream without terminal frame")


# ---------------------------------------------------------------- what is accepted

TALK = [message("be brief", role="system"), message("what is this?", use("image", "img"), use("audio", "snd"), use("video", "vid")),
        message("", call({"word": "cat", "deep": {"b": [1, None]}}), role="assistant"),
        message(result("a cat", use("image", "img")), result(id="c2"), "go on")]


def test_p16_a_request_with_text_only_and_one_with_all_there_is_are_answered(conn):
    """P16, spec 02 §2."""
    assert conn.text("hi") == TEXT
    assert conn.text(messages=TALK, attachments=MEDIA, tools=[TOOL], temperature=0.7, top_p=0.9, top_k=40, max_tokens=256, stream=True) == TEXT


@pytest.mark.parametrize("where", ["message", "later message", "result in a result"])
def test_p19_an_image_within_a_tool_result_is_accepted(conn, where):
    """P19, spec 02 §3."""
    inside = result("seen:", use("image", "img"))
    content = {"message": [message(inside)], "later message": [message("hi"), message("", inside)],
               "result in a result": [message(result(inside, inside))]}[where]
    assert conn.text(messages=content, attachments=[IMAGE]) == TEXT


def test_p26_the_documented_request_is_answered(conn):
    """P26: its `bytes` is a placeholder; base64 is no matter of validation."""
    line = (GOLDEN / "request_documented_example.json").read_bytes()
    *frames, done = conn.send(line).answer()
    assert (text_deltas(frames), done["id"], done["stop_reason"]) == (TAPE, json.loads(line)["id"], "end_turn")


def test_d57_an_image_for_the_mock_is_answered(conn):
    """D57, spec 02 §4.1: mock takes any attachment."""
    assert conn.ask("what is this?", use("image", "img"), attachments=[IMAGE])[-1]["type"] == "done"


ACCEPTED = {
    "nulls for optional fields": dict.fromkeys(("temperature", "top_p", "top_k", "max_tokens", "stream", "seed", "stop", "priority",
                                                "local_only", "progress", "tool_choice", "response_format")),
    "integers where floats are due": {"temperature": 1, "top_p": 1},
    "u32 bounds": {"top_k": 4294967295, "max_tokens": 4294967295, "seed": 4294967295},
    "zeros": {"temperature": 0, "top_k": 0, "max_tokens": 0, "seed": 0},
    "sampling out of any range": {"temperature": -5, "top_p": 1e300},
    "an unknown field": {"future_field": 42},
    "fields of v1, of whatever type": {"grammar": 5, "image_token_budget": "many", "content": []},
    "nested unknown fields": {"messages": [message({"type": "text", "text": "hi", "x": [{}]}) | {"name": 5}],
                              "attachments": [IMAGE | {"sample_rate": "x"}], "tools": [TOOL | {"strict": True}]},
    "an unknown field of 100 levels": {"x": json.loads("[" * 100 + "]" * 100)},
    "empty attachments and tools": {"attachments": [], "tools": []},
    "many roles": {"messages": [message(role, role=role) for role in ("system", "user", "assistant", "assistant", "system")]},
    "empty texts": {"messages": [message("", "")]},
    "an attachment that nothing refers to": {"attachments": MEDIA},
    "an attachment that is referred to often": {"messages": [message(*[use("image", "img")] * 50)], "attachments": [IMAGE]},
    "an image without pixels and of the wrong length": {"attachments": [IMAGE | {"width": 0, "height": 4294967295, "bytes": "no base64"}]},
    "an attachment of 100 KB": {"attachments": [AUDIO | {"bytes": "A" * 100_000}]},
    "a tool without name and description": {"tools": [TOOL | {"name": "", "description": ""}]},
    "schemas of any shape": {"tools": [TOOL | {"name": str(n), "input_schema": schema}
                                       for n, schema in enumerate((None, True, 5, "x", [], {}, {"a": {"b": []}}))]},
    "inputs of any shape": {"messages": [message(*(call(input) for input in (None, False, -1.5, "x", [1, {"a": 2}], {})))]},
    "calls and results that do not fit each other": {"messages": [message(call({}, "1", "not declared"), call({}, "1"), result(id="2"))]},
    "a result of a system message": {"messages": [message(result("x"), role="system")]},
    "results 61 levels deep": {"messages": [message(nested(61, text("deep")))]},
    "seed": {"seed": 7},
    "16 stops of 256 bytes": {"stop": [f"{n:0256}" for n in range(16)]},
    "batch": {"priority": "batch"},
    "local only": {"local_only": True},
    "progress": {"progress": True},
    **{f"tool_choice {choice}": {"tools": [TOOL], "tool_choice": choice}
       for choice in ("auto", "none", "required", {"type": "tool", "name": "look_up"})},
    "tool_choice auto without tools": {"tool_choice": "auto"},
    "response_format": {"response_format": SCHEMA},
    "response_format with tools that are not to be called": {"response_format": SCHEMA, "tools": [TOOL], "tool_choice": "none"},
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_a_valid_request_is_answered(conn, fields):
    """Spec 02 §2 and the end of §3 (what is not checked), README 3."""
    assert conn.text(**fields) == TEXT


# ---------------------------------------------------------------- decode errors

HI = '"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]'


def in_block(block):
    return '"messages":[{"role":"user","content":[%s]}]' % block


FIRST = "messages[0].content[0]"
DECODE_ERRORS = {  # path that the message has to name -> bodies after {"id":"r",
    "messages": ['"x":1', '"messages":null', '"messages":{}', f"{HI},{HI}"],
    "messages[0]": ['"messages":["hi"]'],
    "messages[0].role": ['"messages":[{"content":[]}]', '"messages":[{"role":"tool","content":[]}]'],
    "messages[0].content": ['"messages":[{"role":"user"}]', '"messages":[{"role":"user","content":"hi"}]',
                            '"messages":[{"role":"user","content":null}]'],
    FIRST: [in_block('"hi"')],
    f"{FIRST}.type": [in_block("{}"), in_block('{"type":5,"text":"a"}'), in_block('{"type":null}')],
    f"{FIRST}.text": [in_block('{"type":"text"}'), in_block('{"type":"text","text":null}'),
                      in_block('{"type":"text","text":"a","text":"b"}')],
    f"{FIRST}.attachment_id": [in_block('{"type":"%s"}' % kind) for kind in ("image", "audio", "video")],
    f"{FIRST}.tool_call_id": [in_block('{"type":"tool_use","name":"n","input":{}}'), in_block('{"type":"tool_result","content":[]}')],
    f"{FIRST}.name": [in_block('{"type":"tool_use","tool_call_id":"i","input":{}}')],
    f"{FIRST}.input": [in_block('{"type":"tool_use","tool_call_id":"i","name":"n"}'),
                       in_block('{"type":"tool_use","tool_call_id":"i","name":"n","input":1e400}')],
    f"{FIRST}.content": [in_block('{"type":"tool_result","tool_call_id":"i"}'),
                         in_block('{"type":"tool_result","tool_call_id":"i","content":"x"}')],
    f"{FIRST}.content[0].text": [in_block('{"type":"tool_result","tool_call_id":"i","content":[{"type":"text"}]}')],
    "attachments": [f'{HI},"attachments":{value}' for value in ("null", "{}")],
    "attachments[0].kind": [f'{HI},"attachments":[{{"id":"a"}}]'],
    "attachments[0].id": [f'{HI},"attachments":[{{"kind":"video","bytes":""}}]'],
    "attachments[0].width": [f'{HI},"attachments":[{{"kind":"image","id":"a","width":{value},"height":1,"bytes":""}}]'
                             for value in ("-1", "1.0", "null", "4294967296")],
    "attachments[0].height": [f'{HI},"attachments":[{{"kind":"image","id":"a","width":1,"bytes":""}}]'],
    "attachments[0].sample_rate": [f'{HI},"attachments":[{{"kind":"audio","id":"a","bytes":""}}]'],
    "attachments[0].bytes": [f'{HI},"attachments":[{{"kind":"video","id":"a","bytes":[0]}}]'],
    "tools": [f'{HI},"tools":{value}' for value in ("null", '"t"')],
    "tools[0].name": [f'{HI},"tools":[{{"description":"","input_schema":{{}}}}]'],
    "tools[0].description": [f'{HI},"tools":[{{"name":"","input_schema":{{}}}}]'],
    "tools[0].input_schema": [f'{HI},"tools":[{{"name":"","description":""}}]'],
    "temperature": [f'{HI},"temperature":{value}' for value in ('"1"', "1e400")],
    "top_k": [f'{HI},"top_k":{value}' for value in ("64.0", "-1", "4294967296")],
    "max_tokens": [f'{HI},"max_tokens":1.5'],
    "stream": [f'{HI},"stream":"true"'],
    "seed": [f'{HI},"seed":{value}' for value in ("-1", "1.0", '"1"')],
    "stop": [f'{HI},"stop":"x"'],
    "priority": [f'{HI},"priority":1'],
    "local_only": [f'{HI},"local_only":1'],
    "progress": [f'{HI},"progress":"yes"'],
    "tool_choice": [f'{HI},"tool_choice":{value}' for value in ("5", "[]")],
    "tool_choice.type": [f'{HI},"tool_choice":{{"name":"t"}}'],
    "tool_choice.name": [f'{HI},"tool_choice":{{"type":"tool"}}'],
    "response_format": [f'{HI},"response_format":"json_schema"'],
    "response_format.type": [f'{HI},"response_format":{{"type":"text"}}'],
    "response_format.schema": [f'{HI},"response_format":{{"type":"json_schema"}}'],
}


@pytest.mark.parametrize("path, body", [(path, body) for path, bodies in DECODE_ERRORS.items() for body in bodies])
def test_a_field_of_the_wrong_shape_gets_a_decode_error_that_names_it_and_the_end(conn, path, body):
    """Spec 02 §2, spec 01 §2.1 and §2.3, README 2 (the id that was read comes back)."""
    conn.send(f'{{"id":"r",{body}}}\n'.encode(), v2_request())
    assert_decode_error(conn, "r", f"`{path}`")


@pytest.mark.parametrize("line", [b"{ this is not json }", b"", b" \t\r", b"[]", b"null", b"{}", b'{"id":"r","messages":[',
                                  compact(v2_request()) + b"x"], ids=repr)
def test_d59_a_line_that_is_no_request_gets_a_decode_error_and_the_end(conn, line):
    """D59, spec 01 §2.1."""
    conn.send(line + b"\n", v2_request())
    assert_decode_error(conn, ("", "r"))


def test_a_request_of_v1_is_told_what_v2_expects(conn):
    """Spec 02 §2.1: a plain string is no content."""
    conn.send({"id": "r", "messages": [{"role": "user", "content": "hi"}]})
    assert_decode_error(conn, "r", "messages[0].content")


@pytest.mark.parametrize("levels", [62, 100, 10_000])
def test_results_deeper_than_json_may_be_nested_get_a_decode_error(conn, levels):
    """Spec 01 §2.3: 127 arrays and objects; 61 results are the most."""
    deep = '{"type":"tool_result","tool_call_id":"i","content":[' * levels + "]}" * levels
    conn.send(f'{{"id":"r",{in_block(deep)}}}\n'.encode())
    assert_decode_error(conn, ("", "r"))


# ---------------------------------------------------------------- validation: spec 02 §3

ROWS = {
    "p17 d58, row 1: no messages": ({"messages": []}, "messages must not be empty"),
    "row 2: an attachment of an unknown kind": ({"attachments": [{"kind": "document"}]}, "attachments contain an unknown kind"),
    "row 2: the second one, and nothing refers to it": ({"attachments": [IMAGE, {"kind": "Image", "id": 5}]}, "attachments contain an unknown kind"),
    "row 3: an attachment with an empty id": ({"attachments": [AUDIO | {"id": ""}]}, "attachments must have non-empty id"),
    "p20, row 4: an image and a sound of one id": ({"attachments": [IMAGE | {"id": "a b"}, AUDIO | {"id": "a b"}]}, "duplicate attachment id: a b"),
    "p21, row 5: two tools of one name": ({"tools": [TOOL, TOOL | {"name": "other"}, TOOL | {"description": ""}]}, "duplicate tool name: look_up"),
    "row 5: two tools of an empty name": ({"tools": [TOOL | {"name": ""}] * 2}, "duplicate tool name: "),
    "p17, row 6: empty content": ({"messages": [{"role": "user", "content": []}]}, "messages[0].content must not be empty"),
    "row 6: of the third message": ({"messages": [message("a"), message("b"), {"role": "assistant", "content": []}]},
                                    "messages[2].content must not be empty"),
    "p18 d58, row 7: an attachment that is not there": ({"messages": [message(use("image", "missing"))]},
                                                        'messages[0].content[0] references unknown attachment_id "missing"'),
    "row 7: ids are exact": ({"messages": [message("a"), message("b", use("audio", "SND"))], "attachments": MEDIA},
                             'messages[1].content[1] references unknown attachment_id "SND"'),
    "row 7: an empty id": ({"messages": [message(use("video", ""))], "attachments": MEDIA},
                           'messages[0].content[0] references unknown attachment_id ""'),
    "row 7: an id that has to be escaped": ({"messages": [message(use("image", 'a"\\\n☃'))]},
                                            'messages[0].content[0] references unknown attachment_id "a\\"\\\\\\n☃"'),
    "row 8: a sound where an image is due": ({"messages": [message(use("image", "snd"))], "attachments": MEDIA},
                                             'messages[0].content[0] block expects image attachment but "snd" is a different kind'),
    "row 8: a video where a sound is due": ({"messages": [message("x", use("audio", "vid"))], "attachments": MEDIA},
                                            'messages[0].content[1] block expects audio attachment but "vid" is a different kind'),
    "row 8: an image where a video is due": ({"messages": [message(use("video", "img"))], "attachments": MEDIA},
                                             'messages[0].content[0] block expects video attachment but "img" is a different kind'),
    "p22, row 9: an unknown block": ({"messages": [message(UNKNOWN)]}, "messages[0].content[0] uses unknown content-block type"),
    "row 9: of a known type in capitals": ({"messages": [message({"type": "Text", "text": 5})]},
                                           "messages[0].content[0] uses unknown content-block type"),
    "row 9: a type of an answer": ({"messages": [message("x", {"type": "thinking", "delta": "x"})]},
                                   "messages[0].content[1] uses unknown content-block type"),
    "row 7 in a result": ({"messages": [message("x"), message("y", result("a", "b", use("image", "missing")))]},
                          'messages[1].content[2] references unknown attachment_id "missing"'),
    "row 8 in a result": ({"messages": [message(result(use("audio", "img")))], "attachments": MEDIA},
                          'messages[0].content[0] block expects audio attachment but "img" is a different kind'),
    "row 9 in a result of a result": ({"messages": [message("x", "y", result("a", result("b", "c", "d", UNKNOWN)))]},
                                      "messages[0].content[3] uses unknown content-block type"),
    "row 9 at the bottom": ({"messages": [message(nested(61, UNKNOWN))]}, "messages[0].content[0] uses unknown content-block type"),
}


@pytest.mark.parametrize("fields, says", ROWS.values(), ids=ROWS)
def test_what_is_invalid_is_refused_in_the_published_words_and_the_connection_stays(conn, fields, says):
    """Spec 02 §3: every row, by its number; those of the checklist say so."""
    [error] = conn.ask(id="bad", **fields)
    assert_error(error, "invalid_request", "bad")
    assert error["message"] == PREFIX + says
    assert conn.text(id="good") == TEXT


def test_the_first_check_that_fails_is_the_one_that_is_told(conn):
    """Spec 02 §3: rows in their order, attachments, messages and blocks in theirs; what README 3 adds comes last."""
    wrong = {"attachments": [IMAGE | {"id": ""}, {"kind": "later"}], "tools": [TOOL, TOOL], "priority": "x", "tool_choice": "x",
             "messages": [{"role": "user", "content": []}, message(UNKNOWN)]}
    steps = [({"messages": []}, "messages must not be empty"),
             ({}, "attachments must have non-empty id"),
             ({"attachments": [{"kind": "later"}, IMAGE | {"id": ""}]}, "attachments contain an unknown kind"),
             ({"attachments": [IMAGE, IMAGE, {"kind": "later"}]}, "duplicate attachment id: img"),
             ({"attachments": [IMAGE]}, "duplicate tool name: look_up"),
             ({"attachments": [IMAGE], "tools": []}, "messages[0].content must not be empty"),
             ({"attachments": [], "tools": [], "messages": [message("x", result(UNKNOWN), use("image", "a")), {"role": "user", "content": []}]},
              "messages[0].content[0] uses unknown content-block type"),
             ({"attachments": [], "tools": [], "messages": [message("x", use("image", "a"), UNKNOWN)]},
              'messages[0].content[1] references unknown attachment_id "a"')]
    for fields, says in steps:
        [error] = conn.ask(**wrong | fields)
        assert error["message"] == PREFIX + says
    assert_error(conn.ask(priority="x", tool_choice="x")[0], "invalid_request", says="priority")
    assert_error(conn.ask(tool_choice="x")[0], "invalid_request", says="tool_choice")


ADDITIVE = {  # what the message has to name, fields
    "17 stops": ("stop", {"stop": [str(n) for n in range(17)]}),
    "an empty stop": ("stop[1]", {"stop": ["a", ""]}),
    "a stop of 257 bytes": ("stop[0]", {"stop": ["x" * 257]}),
    "an unknown priority": ("priority", {"priority": "urgent"}),
    "an unknown tool_choice": ("tool_choice", {"tools": [TOOL], "tool_choice": "any"}),
    "an unknown type of tool_choice": ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "function", "name": "look_up"}}),
    "a required call without tools": ("tool_choice", {"tool_choice": "required"}),
    "a named call without tools": ("tool_choice", {"tool_choice": {"type": "tool", "name": "look_up"}}),
    "a named call of a tool that is not declared": ('"look_down"', {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "look_down"}}),
    "response_format with tools": ("response_format", {"response_format": SCHEMA, "tools": [TOOL]}),
    "response_format with a required call": ("response_format", {"response_format": SCHEMA, "tools": [TOOL], "tool_choice": "required"}),
}


@pytest.mark.parametrize("named, fields", ADDITIVE.values(), ids=ADDITIVE)
def test_an_additive_field_out_of_bounds_is_refused_by_name_and_the_connection_stays(conn, named, fields):
    """README 3 and 6."""
    [error] = conn.ask(id="bad", **fields)
    assert_error(error, "invalid_request", "bad", named)
    assert error["message"].startswith(PREFIX)
    assert conn.text() == TEXT


# ---------------------------------------------------------------- framing and order


def test_d60_three_requests_in_one_write_are_answered_in_order(conn):
    """D60, spec 01 §5.1."""
    conn.send(*(v2_request(id=id) for id in "abc"))
    for id in "abc":
        assert [(frame["type"], frame["id"]) for frame in conn.answer()] == [("frame", id)] * 3 + [("done", id)]


def test_a_request_of_megabytes_is_answered_in_its_turn(conn):
    """Architecture §3: big frames are parsed on the pool, order holds all the same."""
    big = [AUDIO | {"id": str(n), "bytes": "A" * 1_000_000} for n in range(5)]
    conn.send(v2_request(id="first"), v2_request(*(use("audio", str(n)) for n in range(5)), id="big", attachments=big), v2_request(id="small"),
              v2_request("x" * 1_000_000, use("audio", "gone"), id="bad"), v2_request(id="last"))
    assert [conn.answer()[-1]["id"] for _ in range(5)] == ["first", "big", "small", "bad", "last"]


def test_a_frame_may_arrive_in_pieces_and_the_last_one_without_lf(conn):
    """Spec 01 §2.1."""
    line = compact(v2_request())
    for byte in line:
        conn.send(bytes([byte]))
    assert conn.half_close().answer()[-1]["type"] == "done"
    assert conn.ends()


def test_half_a_frame_at_eof_gets_a_decode_error(conn):
    """Spec 01 §2.1."""
    assert_decode_error(conn.send(compact(v2_request())[:-5]).half_close(), ("", "r"))


def test_a_connection_serves_many_requests_good_and_refused(conn):
    """Spec 01 §5.1."""
    for n in range(50):
        assert_error(conn.ask(id=f"bad{n}", messages=[])[0], "invalid_request", f"bad{n}")
        assert conn.ask(id=f"good{n}")[-1]["id"] == f"good{n}"


def filled(bytes_):
    """A request of this size: the attachment's base64 fills it."""
    empty = compact(v2_request(use("audio", "snd"), attachments=[AUDIO | {"bytes": ""}]))
    head, tail = empty[:-3], empty[-3:]
    assert tail == b'}]}' and head.endswith(b'"bytes":""')
    return head[:-1] + b"A" * (bytes_ - len(empty)) + b'"' + tail


def test_a_request_of_exactly_64_mib_is_answered(conn):
    """Spec 01 §2.1: the limit test is "greater than", without the LF."""
    line = filled(FRAME_LIMIT)
    assert len(line) == FRAME_LIMIT
    assert conn.send(line + b"\n").answer()[-1]["type"] == "done"
    assert conn.text() == TEXT


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_request_of_more_than_64_mib_gets_frame_too_large_and_the_end(start, tcp):
    """P13, spec 01 §2.1, README 14: the reply arrives, on TCP too."""
    conn = V2.dial(*start_on_tcp(start, V2)) if tcp else V2.dial(start("--v2"))
    conn.send_until_closed(filled(FRAME_LIMIT + 1) + b"\n")
    assert_error(conn.frame(), "frame_too_large", "", "frame exceeds 67108864 byte cap")
    assert conn.ends()


# ---------------------------------------------------------------- backends that fail


@pytest.mark.parametrize("fault, message", [("unavailable", "mock"), ("not-ready", "backend not ready")])
def test_d61_a_backend_that_fails_to_start_requests_is_named_and_after_three_left_out(start, fault, message):
    """D61, spec 02 §4, spec 06 §3."""
    conn = V2.dial(start("--v2", fault=fault))
    for _ in range(3):
        [error] = conn.ask()
        assert_error(error, "backend_unavailable", says=message)
    assert_error(conn.ask()[0], "backend_unavailable", says="no backend available")


def test_d61_a_stream_that_breaks_ends_with_an_error_after_its_frames(start):
    """D61: drop after 2."""
    conn = V2.dial(start("--v2", tape=["a", "b", "c"], fault="drop-after:2"))
    *frames, error = conn.ask()
    assert text_deltas(frames) == ["a", "b"]
    assert_error(error, "backend_unavailable", says="backend ended stream without terminal frame")
    assert len(conn.ask()) == 3


def test_requests_that_the_backend_calls_invalid_are_never_counted_by_the_breaker(start):
    """Spec 02 §4, README 6."""
    conn = V2.dial(start("--v2", fault="invalid"))
    for _ in range(5):
        assert_error(conn.ask()[0], "invalid_request", says="mock")


# ---------------------------------------------------------------- half-closes and hang-ups

SLOW = {"tape": [f"{n} " for n in range(20)], "delay_ms": 10}


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_half_close_gets_the_whole_answer_and_then_eof(start, tcp):
    """Spec 01 §5.2, README 11."""
    conn = V2.dial(*start_on_tcp(start, V2, **SLOW)) if tcp else V2.dial(start("--v2", **SLOW))
    first = conn.send(v2_request(), v2_request(id="second")).frame()
    *frames, done = conn.half_close().answer()
    assert (text_deltas([first, *frames]), done["stop_reason"]) == (SLOW["tape"], "end_turn")
    assert conn.answer()[-1]["id"] == "second"
    assert conn.ends()


def test_a_half_close_while_waiting_in_the_queue_keeps_the_place(start):
    """README 11."""
    daemon = start("--v2", **SLOW)
    running, waiting = V2.submit(daemon, "running"), V2.submit(daemon, "waiting")
    waiting.half_close()
    assert running.answer()[-1]["type"] == "done"
    *frames, _ = waiting.answer()
    assert text_deltas(frames) == SLOW["tape"]
    assert waiting.ends()


def test_a_client_that_hangs_up_before_its_first_block_frees_its_place(start):
    """README 11: noticed although nothing is ever written to it."""
    daemon = start("--v2", "--queue-depth", "0", delay_ms=HELD)
    V2.submit(daemon, "gone").close()
    assert daemon.logged("v2_request_cancelled", req_id="gone", wire_version="v2")["state"] == "running"
    V2.submit(daemon, "next")
    assert_error(V2.dial(daemon).ask()[0], "queue_full")


def test_a_client_that_hangs_up_in_the_queue_frees_its_place(start):
    """README 11: nobody else is touched."""
    daemon = start("--v2", "--queue-depth", "1", **ENDLESS)
    running = V2.submit(daemon, "running")
    V2.submit(daemon, "gone").close()
    assert daemon.logged("v2_request_cancelled", req_id="gone")["state"] in ("queued", "prepared")
    waiting = V2.submit(daemon, "waiting")
    assert_error(V2.dial(daemon).ask()[0], "queue_full")
    assert [running.frame()["type"] for _ in range(20)] == ["frame"] * 20
    running.close()
    assert waiting.frame()["id"] == "waiting"


def test_a_client_that_hangs_up_while_its_request_is_parsed_leaves_nothing(start):
    """README 11: megabytes, on the pool or not yet whole."""
    daemon = start("--v2", "--queue-depth", "0", tape=TAPE)
    big = compact(v2_request("x" * 3_000_000))
    for n in range(8):
        V2.dial(daemon).send(big + b"\n" if n % 2 else big).close()
    daemon.settle()
    assert V2.dial(daemon).text() == TEXT


def test_d53_twenty_clients_that_hang_up_mid_stream_leave_a_daemon_that_serves(start):
    """D53; spec 01 §5.2: they count neither as failure nor as done."""
    daemon = start("--v2", **ENDLESS)
    for n in range(20):
        gone = V2.dial(daemon).send(v2_request(id=f"gone{n}"))
        assert gone.frame()["type"] == "frame"
        gone.close()
        daemon.logged("v2_request_cancelled", req_id=f"gone{n}", state="running")
    assert V2.dial(daemon).send(v2_request(id="next")).frame()["id"] == "next"
    assert not [record for record in daemon.place.records() if record.get("msg") == "v2_request_done"]


def test_requests_behind_the_one_that_runs_are_dropped_with_the_connection(start):
    """Spec 01 §5.2."""
    daemon = start("--v2", tape=["a"], delay_ms=300)
    V2.submit(daemon, "first").send(v2_request(id="second")).close()
    daemon.logged("v2_request_cancelled", req_id="first")
    assert V2.dial(daemon).ask(id="third")[-1]["type"] == "done"
    daemon.logged("v2_request_done", req_id="third")
    assert not [record for record in daemon.place.records() if record.get("req_id") == "second"]
