"""The engine with the real model: bugs that reviews found, each with what went wrong."""
import os
import re
import signal
import subprocess

import pytest

from llama_fixtures import (COUNT, endless, engine_pid, engines, greedy, llama, llama_options, need_model, prompt_tokens, running,  # noqa: F401
                            start_llama, talk, tell, text_of)
from wire import TERMINAL, assert_error, request


def test_a_grammar_with_2_to_the_40_ways_through_its_rules_is_answered(llama):
    """llama.cpp's check for left recursion walked every one of them: the preparation never ended."""
    grammar = "".join(f"r{n} ::= r{n + 1} | r{n + 1}\n" for n in range(1, 40)) + 'r40 ::= "x"\nroot ::= r1 | r1\n'
    pid = engine_pid(llama)
    bomb = llama.connect().send(request("Hello.", id="bomb", grammar=grammar, max_tokens=4))
    assert text_of(tell(llama, greedy(COUNT, max_tokens=4)))
    last = bomb.answer()[-1]
    assert last["type"] in TERMINAL and last["id"] == "bomb"
    bomb.close()
    assert text_of(tell(llama, greedy(COUNT, max_tokens=4)))
    assert engine_pid(llama) == pid, "the engine had to be ended for it"


def test_a_grammar_whose_states_double_with_each_letter_ends_by_itself(llama):
    """The engine computed ever longer for each token, for everyone, until it had used up the memory."""
    pid = engine_pid(llama)
    bomb = llama.connect().send(request("Hello.", id="bomb", grammar='root ::= "a" root "b" | "a" root "c"', max_tokens=200))
    last = bomb.answer()[-1]
    bomb.close()
    assert last["type"] in TERMINAL, last
    if last["type"] == "error":
        assert_error(last, "invalid_request", "bomb", "grammar")
    beside = running(llama, endless("beside", max_tokens=20))
    assert beside.answer()[-1]["usage"]["completion_tokens"] == 20
    beside.close()
    assert llama.process.poll() is None and engine_pid(llama) == pid


def test_300_000_empty_messages_are_refused_with_both_numbers(llama):
    """Only the bytes of the contents were looked at, so the template was rendered for 300,000 messages: minutes."""
    count = 300_000
    line = b'{"id":"many","messages":[%s]}\n' % b",".join([b'{"role":"user","content":""}'] * count)
    conn = llama.connect().send(line)
    [error] = conn.answer()
    assert_error(error, "invalid_request", "many")
    tokens, context = map(int, re.search(r"(\d+) tokens, the context holds (\d+)", error["message"]).groups())
    assert tokens == count, "counted from the messages, not from a prompt that was rendered"
    assert context == 8192
    assert text_of(conn.send(greedy(COUNT, max_tokens=2)).answer())
    conn.close()


def test_many_short_messages_that_fit_are_not_refused(talk):
    """The check must not refuse what has room: a hundred empty messages are answered."""
    assert prompt_tokens(talk, *[{"role": "user", "content": ""}] * 100) >= 100


def test_sigterm_to_the_whole_process_group_drains(start_llama, monkeypatch):
    """A service manager's SIGTERM killed the engine beside the daemon, and with it the answers that were to be finished."""
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: real(*args, **options, start_new_session=True))
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first", max_tokens=40))
    waiting = daemon.submit("waiting", grammar='root ::= "at last"')
    admin = daemon.admin()
    assert os.getpgid(engine_pid(daemon)) == os.getpgid(daemon.pid) == daemon.pid
    daemon.signalled = True
    os.killpg(daemon.pid, signal.SIGTERM)
    assert admin.frame()["status"] == "draining"
    assert first.answer()[-1]["usage"]["completion_tokens"] == 40 and first.ends()
    assert text_of(waiting.answer()) == "at last" and waiting.ends()
    assert daemon.wait() == 0
    assert not engines(daemon.pid)


@pytest.mark.parametrize("args, says", [
    (["--active-permits", "500"], ["--active-permits 500"]),
    (["--threads", "100000"], ["--threads 100000"]),
    (["--kv-cells", "100", "--n-ctx", "8192"], ["--kv-cells 100", "--n-ctx 8192"]),
    (["--n-ctx", "0"], ["--n-ctx"]),
], ids=lambda value: " ".join(value) if value[0].startswith("--") else None)
def test_sizes_that_cannot_work_are_start_errors_by_name(start, args, says):
    """They reached llama.cpp, which crashed, hung or said something about its own insides."""
    need_model()
    output = start.fails(*llama_options(*args), code=1, says=says)
    assert "engine" not in output, output
