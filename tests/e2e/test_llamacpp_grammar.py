"""Grammars: they hold or the request is refused, and a bad one is its caller's fault alone (spec 08 §3.4, README 6, promise 2)."""
import json
import re
import resource

import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, endless, engine_pid, greedy, llama, memory_mib, running, start_llama,
    talk, tell, text_of)
from wire import assert_error, request

YES_NO = 'root ::= "yes" | "no"'
LIST = 'root ::= "[" item ("," item){1,3} "]"\nitem ::= "\\"" [a-z]{1,6} "\\""'
OBJECT = r'''root ::= "{" "\"age\":" age ",\"tags\":[" tag ("," tag)? "]}"
age ::= [1-9] [0-9]?   # no leading zero
tag ::= "\"" ("cat" | "dog" | "fox") "\""
'''
JSON = r'''root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
'''
BARS = "root ::= [a-c]{4} # " + "|" * 4096
BAD = {
    "no rule": "this is no grammar", "no root": 'other ::= "x"', "unclosed string": 'root ::= "x', "unclosed class": "root ::= [a-",
    "unclosed group": 'root ::= ("x"', "unknown rule": "root ::= nothing", "blank": " \n", "no body": "root", "stray brace": 'root ::= "x" }',
    "huge repetition": 'root ::= "x"{100000000}', "repetition beyond 64 bit": 'root ::= "x"{99999999999999999999}',
    "repetition of nothing": "root ::= {3}", "left recursion": 'root ::= root "x" | "x"', "indirect left recursion": 'root ::= a\na ::= b "x"\nb ::= a | "y"',
    "hidden left recursion": 'root ::= e root "x"\ne ::= ""', "NUL": 'root ::= "a\0b"', "NUL at the end": 'root ::= "a"\0', "bad escape": 'root ::= "\\q"',
    "short escape": 'root ::= "\\x4"', "65,537 bytes": 'root ::= "x" #'.ljust(65_537, "x"), "4,097 bars": BARS + "|",
    "4,097 alternatives": "root ::= " + " | ".join(f'"{n}"' for n in range(4098)), "open groups": "root ::= " + "(" * 60_000,
    "deep groups": "root ::= " + "(" * 32_000 + '"x"' + ")" * 32_000, "groups in strings": 'root ::= "x" # ' + "(" * 60_000,
    "closed groups": "root ::= " + ")" * 60_000, "other type of quotes": "root ::= 'x'", "a JSON schema": '{"type":"object"}'}
ALLOWED_TOO = {"groups in strings"}  # a comment: may be refused for its depth, or accepted


def matches(talk_or_daemon, grammar, pattern, n, **fields):
    """n answers at temperature 1.0, each of which has to match."""
    for _ in range(n):
        frames = talk_or_daemon.send(request("Hello.", grammar=grammar, temperature=1.0, max_tokens=100, **fields)).answer()
        assert re.fullmatch(pattern, text_of(frames)), frames[-1]
        assert frames[-1]["stop_reason"] == "end"


def test_an_answer_is_one_of_two_words(talk):
    """Promise 2, E27."""
    matches(talk, YES_NO, "yes|no", 10)


@pytest.mark.parametrize("grammar, pattern", [(LIST, r'\["[a-z]{1,6}"(,"[a-z]{1,6}"){1,3}\]'),
                                              (OBJECT, r'\{"age":[1-9][0-9]?,"tags":\["(cat|dog|fox)"(,"(cat|dog|fox)")?\]\}')],
                         ids=["list", "object"])
def test_thirty_answers_side_by_side_all_hold(llama, grammar, pattern):
    """Promise 2: 30 requests at temperature 1.0, eight at a time."""
    conns = [llama.connect() for _ in range(8)]
    for n in range(30):
        conns[n % 8].send(request("Hello.", id=str(n), grammar=grammar, temperature=1.0, max_tokens=100))
    for n in range(30):
        frames = conns[n % 8].answer()
        assert re.fullmatch(pattern, text_of(frames)), frames[-1]
        assert (frames[-1]["id"], frames[-1]["stop_reason"]) == (str(n), "end")
        json.loads(frames[-1]["content"])
    for conn in conns:
        conn.close()


@pytest.mark.parametrize("temperature", [0, 0.7, 100])
def test_a_grammar_holds_at_every_temperature(talk, temperature):
    """Promise 2: also where the model would never say it."""
    frames = talk.send(request("Hello.", grammar='root ::= "zq" [0-9]{3} "-" [xyz]{3}', temperature=temperature, top_k=0, top_p=1)).answer()
    assert re.fullmatch(r"zq\d{3}-[xyz]{3}", text_of(frames)), frames[-1]


@pytest.mark.parametrize("top", [{"top_k": 1}, {"top_p": 0}], ids=str)
def test_a_grammar_holds_when_one_token_is_left(talk, top):
    """Spec 08 §3.4: the grammar comes first in the chain."""
    assert text_of(talk.send(request("Hello.", grammar='root ::= "qqq" [0-9]', **top)).answer())[:3] == "qqq"


def test_the_json_grammar_gives_json(talk):
    """E27: some 700 bytes."""
    for seed in range(2):
        frames = talk.send(request("Describe a fox as JSON.", grammar=JSON, max_tokens=40, temperature=0.7, seed=seed)).answer()
        assert text_of(frames).startswith("{")
        if frames[-1]["stop_reason"] == "end":
            assert isinstance(json.loads(frames[-1]["content"]), dict)


def test_a_grammar_of_the_empty_text_gives_an_empty_answer(talk):
    """Promise 2."""
    done = talk.send(request("Hello.", grammar='root ::= ""')).answer()[-1]
    assert (done["content"], done["stop_reason"], done["usage"]["completion_tokens"]) == ("", "end", 0)


def test_an_empty_grammar_is_no_constraint(talk):
    """Spec 01 §3."""
    assert text_of(talk.send(greedy(COUNT, grammar="")).answer()) == text_of(talk.send(greedy(COUNT)).answer())


@pytest.mark.parametrize("grammar", [YES_NO.ljust(65_536, "\n"), BARS, "root ::= " + " | ".join(f'"{n:04}"' for n in range(4097)),
                                     "root ::= (((((((((([0-9])))))))))){4}", "#" * 60_000 + '\nroot ::= "yes"'],
                         ids=["65,536 bytes", "4,096 bars", "4,096 bars of alternatives", "ten groups", "comment"])
def test_a_grammar_at_the_limit_is_accepted(talk, grammar):
    """E27, spec 08 §3.4."""
    text = text_of(talk.send(request("Hello.", grammar=grammar, max_tokens=12)).answer())
    assert re.fullmatch(r"yes|no|[a-c]{4}|\d{4}", text)


@pytest.mark.parametrize("grammar", BAD.values(), ids=BAD)
def test_a_bad_grammar_is_refused_by_name(llama, grammar, request):
    """README 6, promise 2: `invalid_request`, the connection and the engine stay, and the next request is served."""
    pid = engine_pid(llama)
    conn = llama.connect()
    frames = tell(llama, {"id": "bad", "messages": [{"role": "user", "content": "x"}], "grammar": grammar, "max_tokens": 5})
    if not (frames[-1]["type"] == "done" and request.node.callspec.id in ALLOWED_TOO):
        assert len(frames) == 1, frames
        assert_error(frames[0], "invalid_request", "bad", "grammar")
    assert engine_pid(llama) == pid
    assert text_of(conn.send(greedy(COUNT, max_tokens=2)).answer())
    conn.close()


def test_the_refusal_tells_both_numbers_of_a_limit(talk):
    """README 5 and 6."""
    for grammar, numbers in ((BAD["65,537 bytes"], ("65537", "65536")), (BAD["4,097 bars"], ("4097", "4096"))):
        [error] = talk.send(request("x", grammar=grammar)).answer()
        assert all(number in error["message"] for number in numbers), error


def test_bad_grammars_are_not_counted_as_failures(talk):
    """README 6, against spec 01 §8.9: three of them opened the breaker for everyone."""
    for _ in range(50):
        assert_error(talk.send(request("x", grammar=BAD["no rule"])).answer()[0], "invalid_request")
    assert text_of(talk.send(greedy(COUNT, max_tokens=2)).answer())


def test_a_bad_grammar_is_refused_while_every_sequence_is_taken(start_llama):
    """Architecture §4: prepared while it waits, so the refusal comes at once."""
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first"))
    assert_error(tell(daemon, request("x", id="bad", grammar="root ::= ("))[0], "invalid_request", "bad", "grammar")
    assert first.frame()["type"] == "token"


@pytest.fixture
def bounded(start_llama):
    """A daemon whose engine cannot take the machine's memory away."""
    daemon = start_llama()
    limit = (memory_mib(engine_pid(daemon), "VmSize") << 20) + (6 << 30)
    resource.prlimit(engine_pid(daemon), resource.RLIMIT_AS, (limit, limit))
    return daemon


@pytest.mark.parametrize("grammar", ['root ::= "x"{5,2}', 'root ::= (("x"{3,1}){5}){7}',
                                     "root ::= " + "[a-z]{1,2000} " * 4000, "root ::= " + "[a-z]{2000} " * 4000],
                         ids=["backwards", "nested backwards", "many ranges", "many repetitions"])
def test_a_short_grammar_takes_no_gigabytes(bounded, grammar):
    """README 7: counts from outside are bounded before anything is allocated; refused, or served within bounds."""
    pid = engine_pid(bounded)
    before = memory_mib(pid, "VmHWM")
    last = tell(bounded, request("Hello.", grammar=grammar, max_tokens=2))[-1]
    if last["type"] == "error":
        assert_error(last, "invalid_request", says="grammar")
    assert engine_pid(bounded) == pid
    assert memory_mib(pid, "VmHWM") - before < 1024


@pytest.mark.parametrize("grammar", [
    "root ::= r0\n" + "".join(f"r{n} ::= r{n + 1}? r{n + 1}?\n" for n in range(30)) + 'r30 ::= "a"',
    "root ::= " + '("a"? ' * 30 + '"b"' + ")*" * 30, 'root ::= ((("a"{1,2000}){1,2000}){1,2000}){1,2000}',
    "root ::= " + "a? " * 60 + '"."\na ::= [a-z]', 'root ::= ("a" | "a" "a" | "a" "a" "a" | root root)* "b"'],
    ids=["nested options", "nested stars", "nested repetitions", "60 options", "ambiguous"])
def test_a_grammar_that_explodes_disturbs_nobody(bounded, grammar):
    """Issue 3: refused, failed or served, but the streams beside it go on and the engine lives."""
    pid = engine_pid(bounded)
    beside = running(bounded, endless("beside", max_tokens=60))
    bomb = bounded.connect().send(request("Hello.", id="bomb", grammar=grammar, max_tokens=4))
    assert beside.answer()[-1]["usage"]["completion_tokens"] == 60
    assert text_of(tell(bounded, greedy(COUNT, max_tokens=4)))
    bomb.close()
    assert text_of(tell(bounded, greedy(COUNT, max_tokens=4)))
    assert engine_pid(bounded) == pid
