"""Lengths: max_tokens, the context's end, prompts that do not fit and prompts that are long (README 5, 6 and 10)."""
import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, ENDLESS, STORY, endless, engine_pid, greedy, llama, prompt_tokens,
    running, start_llama, system, talk, tell, text_of, words)
from wire import assert_error, compact, request


@pytest.fixture(scope="module")
def small(llama):
    """How many tokens the prompt of `endless` has."""
    return tell(llama, endless("size", max_tokens=0))[-1]["usage"]["prompt_tokens"]


def test_max_tokens_0_ends_with_length_and_no_token(talk):
    """Spec 08 §3.4."""
    [done] = talk.send(greedy(COUNT, max_tokens=0)).answer()
    assert (done["content"], done["stop_reason"], done["usage"]["completion_tokens"]) == ("", "length", 0)
    assert done["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize("max_tokens", [1, 2, 13])
def test_max_tokens_reached_ends_with_length(talk, max_tokens):
    """Spec 08 §3.4: exactly so many."""
    done = talk.send(request(STORY, grammar=ENDLESS, max_tokens=max_tokens)).answer()[-1]
    assert (done["stop_reason"], done["usage"]["completion_tokens"]) == ("length", max_tokens)
    assert len(done["content"]) >= max_tokens


@pytest.mark.parametrize("max_tokens", [1000, 4294967295, None])
def test_a_full_context_ends_the_answer_with_length(start_llama, small, max_tokens):
    """README 5 and 10: n_ctx is the limit of prompt plus answer."""
    n_ctx = small + 20
    done = tell(start_llama("--n-ctx", str(n_ctx)), endless("full", max_tokens=max_tokens))[-1]
    assert (done["type"], done["stop_reason"]) == ("done", "length"), done
    assert (done["usage"]["prompt_tokens"], done["usage"]["completion_tokens"]) == (small, 20)


def test_the_longest_prompt_that_fits_gets_one_token_and_the_next_is_refused(start_llama, small):
    """README 10: refused only if prompt ≥ n_ctx."""
    daemon = start_llama("--n-ctx", str(small + 1))
    done = tell(daemon, endless("fits"))[-1]
    assert (done["stop_reason"], done["usage"]["completion_tokens"]) == ("length", 1)
    daemon.stop()
    [error] = tell(start_llama("--n-ctx", str(small)), endless("over"))
    assert_error(error, "invalid_request", "over", str(small))
    assert error["message"].count(str(small)) == 2, error


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(start_llama, llama):
    """README 5, promise 1: at once, on a connection that stays, also when max_tokens is 0."""
    long = words(270)
    count = tell(llama, greedy(long, max_tokens=0))[-1]["usage"]["prompt_tokens"]
    conn = start_llama("--n-ctx", "256").connect()
    for fields in ({}, {"max_tokens": 0}, {"stream": False}, {"messages": [system(long)]}):
        [error] = conn.send(greedy(long, **fields)).answer()
        assert_error(error, "invalid_request", says="256")
        assert "messages" in fields or str(count) in error["message"], (count, error)
    assert text_of(conn.send(greedy(COUNT)).answer())


def test_a_refusal_disturbs_neither_running_nor_waiting_requests(start_llama):
    """README 5, architecture §4: prepared while it waits, so the refusal comes although no sequence is free."""
    daemon = start_llama("--active-permits", "1", "--n-ctx", "512")
    alone = text_of(tell(daemon, greedy(COUNT, max_tokens=40)))
    first = running(daemon, endless("running", max_tokens=400))
    waiting = daemon.connect().send(greedy(COUNT, max_tokens=40))
    [error] = tell(daemon, greedy(words(3000), id="long"))
    assert_error(error, "invalid_request", "long", "512")
    assert first.frame()["type"] == "token"
    first.close()
    assert text_of(waiting.answer()) == alone


def test_prompts_that_are_too_long_are_not_counted_as_failures(llama):
    """README 6: the breaker stays closed."""
    conn = llama.connect()
    for _ in range(10):
        assert_error(conn.send(greedy("word " * 9000)).answer()[0], "invalid_request", says="8192")
    assert text_of(conn.send(greedy(COUNT, max_tokens=2)).answer())


@pytest.mark.parametrize("unit", ["word ", "\\u0000"], ids=ascii)
def test_a_prompt_of_almost_64_mib_is_refused_with_numbers(llama, unit):
    """Issue 3, promise 1: a frame just below the limit; a stream that runs meanwhile gets its whole answer."""
    beside = running(llama, endless("beside", max_tokens=60))
    pid = engine_pid(llama)
    head, tail = compact(request("CUT", id="huge")).split(b"CUT")
    unit = unit.encode()
    frame = head + unit * ((67_108_864 - len(head) - len(tail)) // len(unit)) + tail
    conn = llama.connect().send(frame + b"\n")
    [error] = conn.answer()
    assert_error(error, "invalid_request", "huge", "8192")
    assert sum(part.strip(",").isdigit() for part in error["message"].split()) >= 2, error
    assert text_of(conn.send(greedy(COUNT, max_tokens=2)).answer())
    assert beside.answer()[-1]["usage"]["completion_tokens"] == 60
    assert engine_pid(llama) == pid
    conn.close()


def test_prompts_of_thousands_of_tokens_are_answered(llama):
    """Issue 3, spec 08 §3.4 (0.2.1 aborts): longer than a micro-batch of 512, then than a batch of 2048."""
    for count in (560, 2080):
        done = tell(llama, greedy(words(count), max_tokens=3))[-1]
        assert done["type"] == "done" and done["usage"]["prompt_tokens"] > count, done
        assert done["usage"]["completion_tokens"] == 3 or done["stop_reason"] == "end"


def test_a_long_prompt_does_not_stop_a_running_stream(llama):
    """Architecture §4: prompts are computed in slices; tokens of the other come before the long one's first."""
    beside = running(llama, endless("beside"))
    long = llama.connect().send(greedy("Now: " + words(300), id="long", max_tokens=1))
    before = 0
    while not long.buffer:
        assert beside.frame()["type"] == "token"
        before += 1
        long.sock.setblocking(False)
        try:
            long.buffer += long.sock.recv(1 << 16)
        except BlockingIOError:
            pass
    long.sock.settimeout(30)
    assert text_of(long.answer()) is not None
    assert before > 3
    beside.close(), long.close()


@pytest.mark.parametrize("n_ctx", ["0", "4294967295"])
def test_a_context_that_cannot_be_is_a_start_error_by_name(start_llama, n_ctx):
    """README 7 and 10: above 0 (spec 05 §2), and a number that the machine can hold."""
    daemon = start_llama("--n-ctx", n_ctx, ready=False)
    assert daemon.wait() == {"0": 1, "4294967295": 2}[n_ctx]  # the second is no number that the option takes: usage
    assert "--n-ctx" in daemon.output


@pytest.mark.parametrize("args", [("--threads", "2"), ("--active-permits", "64", "--n-ctx", "256"), ("--kv-cells", "8192")], ids=" ".join)
def test_sizes_are_honoured(start_llama, args):
    """README 10."""
    assert text_of(tell(start_llama(*args), greedy(COUNT, max_tokens=2)))
