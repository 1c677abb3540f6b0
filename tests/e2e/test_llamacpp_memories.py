"""Every kind of memory that a model may have (promises 4 and 5; architecture §4): full attention, a sliding window, a recurrent
state, both in one. Whatever was reused, shared, evicted, kept in host memory, cancelled or paused, answers are those of a cold engine.

The models are tiny (tiny_models.py); what a cold engine answers is computed in numpy, and the first test says that it does. Only what
the model is certain of is asked: a different answer is wrong, not a matter of rounding. A token is a byte: prompts are counted exactly.
"""
from __future__ import annotations

import os
import time
from collections import deque
from random import Random

import pytest

from daemon_process import Daemon, Place
from llama_fixtures import ENGINE, assistant, engine_pid, llama_options, system, text_of, user
from tiny_models import KINDS, WINDOW, Answer, TinyModel, prompt_tokens
from wire import Conn, request

SMALL = ("--n-ctx", "400", "--kv-cells", "600")  # cells for two of the longest prompts
LONGEST = 380
CUTTABLE = ("full", "window")  # memories of which the end can be cut off


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")
    folder = tmp_path_factory.mktemp("tiny-models")
    return {kind: TinyModel(kind).write(folder) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def model(request, tiny_models) -> TinyModel:
    return tiny_models[request.param]


@pytest.fixture
def serve(start, model):
    """Starts daemons with the model; none of their engines may die."""
    engines = []

    def go(*args: str) -> Daemon:
        daemon = start(*llama_options(*args, model=model.path, sha256=model.sha256))
        engines.append((daemon, engine_pid(daemon)))
        return daemon

    yield go
    for daemon, pid in engines:
        assert daemon.code is not None or engine_pid(daemon) == pid, daemon.output


@pytest.fixture(scope="module")
def talk(model):
    """A connection to one daemon for all tests of a model that leave nothing behind."""
    here = Place()
    daemon = Daemon(here, *llama_options(model=model.path, sha256=model.sha256))
    try:
        daemon.wait_ready()
        yield daemon.connect()
        daemon.stop()
    finally:
        if daemon.code is None and daemon.process.poll() is None:
            daemon.kill()
        here.remove()


class Asked:
    """A request and its answer."""

    def __init__(self, messages: list[dict], max_tokens: int, answer: Answer) -> None:
        self.messages, self.max_tokens, self.answer = messages, max_tokens, answer
        self.tokens = prompt_tokens(messages)

    def frame(self, **fields) -> dict:
        return request(messages=self.messages, **{"max_tokens": self.max_tokens, "temperature": 0, **fields})

    def ask(self, conn: Conn, **fields) -> int:
        """Asks, asserts that the answer is right, returns the prompt tokens that were reused."""
        return self.check(conn.send(self.frame(**fields)).answer())

    def check(self, frames: list[dict]) -> int:
        text, usage = text_of(frames), frames[-1]["usage"]
        found = (text, frames[-1]["stop_reason"], usage["prompt_tokens"], usage["completion_tokens"])
        assert found == (self.answer.text, self.answer.stop_reason, len(self.tokens), self.answer.tokens), (self.messages, usage)
        assert usage["cached_prompt_tokens"] < len(self.tokens)
        return usage["cached_prompt_tokens"]

    def held(self) -> int:
        """Tokens of prompt and answer that the engine has computed: all but the last if it stopped there."""
        return len(self.tokens) + self.answer.tokens - (self.answer.stop_reason == "length")

    def common(self, other: "Asked") -> int:
        """Tokens of the beginning that both prompts have."""
        pairs = zip(self.tokens, other.tokens)
        return next((n for n, (mine, theirs) in enumerate(pairs) if mine != theirs), min(len(self.tokens), len(other.tokens)))


class Chats:
    """Random conversations with a model: only what it answers with certainty."""

    def __init__(self, model: TinyModel, seed: int, longest: int = LONGEST) -> None:
        self.model, self.random, self.longest = model, Random(f"{model.kind} {seed}"), longest
        self.heads = [self.text(60), self.text(180)]
        self.asked: list[Asked] = []

    def text(self, length: int) -> str:
        return "".join(self.random.choices("abcdefghij klmnop.", k=length))

    def one(self, draw) -> Asked:
        """A request of which `draw` makes the messages, again and again until they have a certain answer."""
        while True:
            messages, max_tokens = draw(), self.random.randint(8, 12)
            if len(prompt_tokens(messages)) <= self.longest and (answer := self.model.answer(messages, max_tokens)):
                self.asked.append(Asked(messages, max_tokens, answer))
                return self.asked[-1]

    def prompt(self, begin: str, length: int) -> Asked:
        """A single message of random text after `begin`."""
        return self.one(lambda: [user(begin + self.text(length))])

    def after(self, before: Asked) -> Asked:
        """The conversation goes on."""
        return self.one(lambda: self.goes_on(before))

    def crowd(self) -> list[Asked]:
        """Requests that together need the whole small pool, and do not begin as prompt() does."""
        return [self.one(lambda: [system(self.text(300)), user("a")]) for _ in range(3)]

    def goes_on(self, before: Asked) -> list[dict]:
        return [*before.messages, assistant(before.answer.text), user(self.text(self.random.randint(1, 40)))]

    def begins(self) -> list[dict]:
        """A conversation that shares a head with others, or the beginning of it, or is alone."""
        head = self.random.choice([*self.heads, ""])
        if self.random.random() < 0.5:
            head = head[: self.random.randint(0, len(head))]
        return [*([system(head)] if head else []), user(self.text(self.random.randint(1, 60)))]

    def differs(self, before: Asked) -> list[dict]:
        """The same up to somewhere in one of its messages."""
        messages, at = before.messages, self.random.randrange(len(before.messages))
        content = messages[at]["content"]
        changed = content[: self.random.randint(0, len(content))] + self.text(self.random.randint(1, 30))
        return [*messages[:at], {**messages[at], "content": changed}, *messages[at + 1 :]]

    def goes_back(self, before: Asked) -> list[dict]:
        return before.messages[:-2] if len(before.messages) > 2 else before.messages

    def trace(self, length: int) -> list[Asked]:
        def draw() -> list[dict]:
            before = self.random.choice(self.asked[-12:] or [None])
            if before is None:
                return self.begins()
            steps = [self.goes_on, self.differs, self.goes_back, lambda same: same.messages, lambda _: self.begins()]
            return self.random.choices(steps, [5, 2, 1, 2, 3])[0](before)

        return [self.one(draw) for _ in range(length)]


@pytest.fixture(scope="module")
def trace(model) -> list[Asked]:
    return Chats(model, 1).trace(60)


def run_trace(daemon: Daemon, trace: list[Asked], at_once: int, hang_ups: float, fields=lambda random: {}) -> None:
    """Asks all of them in order, up to `at_once` at a time, some on connections that had others; in between come requests whose
    callers hang up. `fields(random)` are added to a request."""
    random, idle, waiting, leaving, wrong = Random(2), [], deque(), [], []

    def finish() -> None:
        conn, asked = waiting.popleft()
        try:
            asked.check(conn.answer())
        except AssertionError as failure:
            wrong.append(str(failure))
        idle.append(conn)

    for n, asked in enumerate(trace):
        while len(waiting) >= random.randint(1, at_once):
            finish()
        for _, conn in (left for left in leaving if left[0] <= n):
            conn.close()
        leaving = [left for left in leaving if left[0] > n]
        if random.random() < hang_ups:
            leaver = random.choice(trace).frame(max_tokens=random.choice([1, 20, 150]), **fields(random))
            leaving.append((n + random.randint(0, 3), daemon.connect().send(leaver)))
        conn = idle.pop() if idle and random.random() < 0.7 else daemon.connect()
        waiting.append((conn.send(asked.frame(**fields(random))), asked))
    while waiting:
        finish()
    assert not wrong, f"{len(wrong)} of {len(trace)} answers are wrong; the first: {wrong[0]}"


def test_a_cold_engine_answers_as_the_network_says(serve, model):
    """What all other tests here compare with: each of these is the first request of an engine."""
    chats = Chats(model, 3)
    for length in (1, WINDOW, 150, 350):
        daemon = serve(*SMALL)
        assert chats.prompt("", length).ask(daemon.connect()) == 0
        daemon.stop()


def test_a_seed_gives_the_same_answer_again(talk, model):
    """Spec 01 §3: sampling is determined by the seed, whether the prompt was computed or reused."""
    frame = request("Say something.", temperature=1, seed=7, max_tokens=16)
    first = text_of(talk.send(frame).answer())
    assert first and [text_of(talk.send(frame).answer()) for _ in range(3)] == [first] * 3


@pytest.mark.parametrize("host_cache", [(), ("--host-cache-bytes", "0"), ("--host-cache-bytes", "200000")], ids=["default", "none", "small"])
def test_answers_of_a_random_trace_are_those_of_a_cold_engine(serve, trace, host_cache):
    """Promises 4 and 5: shared beginnings, conversations that go on and back, hang-ups, a pool that is too small for all."""
    run_trace(serve(*SMALL, "--queue-depth", "30", *host_cache), trace, at_once=6, hang_ups=0.3)


def test_batch_requests_are_answered_as_if_they_ran_alone(serve, trace):
    """Decision 0007: they are paused for interactive ones and go on later."""
    daemon = serve(*SMALL, "--active-permits", "2", "--queue-depth", "30")
    run_trace(daemon, trace, at_once=9, hang_ups=0.1, fields=lambda random: {"priority": random.choice(["batch", "batch", "interactive"])})


def test_long_batch_requests_are_answered_right_while_interactive_ones_come_and_go(serve, model):
    """Decision 0007: what a pause keeps is what the request goes on with."""
    daemon = serve("--active-permits", "1", "--queue-depth", "30")
    chats = Chats(model, 4, longest=700)
    batch = [chats.prompt("", 500) for _ in range(2)]
    others = [chats.one(chats.begins) for _ in range(6)]
    conns = [daemon.connect().send(asked.frame(priority="batch")) for asked in batch]
    talk = daemon.connect()
    for asked in others:
        asked.ask(talk)
    for conn, asked in zip(conns, batch):
        asked.check(conn.answer())


def test_a_request_that_waits_for_cells_begins_when_the_one_that_has_them_ends(serve, model):
    """README 10: also if nothing else happens in the engine then."""
    daemon = serve(*SMALL)
    chats = Chats(model, 5)
    both = [chats.prompt("", 350) for _ in range(2)]
    conns = [daemon.connect().send(asked.frame(max_tokens=40)) for asked in both]  # reserve 409 of 768 cells each
    for conn, asked in zip(conns, both):
        frames = conn.answer()
        assert text_of(frames).startswith(asked.answer.text), frames


def test_a_conversation_that_goes_on_reuses_all_that_was_computed(talk, model):
    """Promise 5: for each kind of memory, what is held is a beginning of the new prompt."""
    chats = Chats(model, 6)
    asked = chats.prompt("", 100)
    asked.ask(talk)
    for _ in range(3):
        before, asked = asked, chats.after(asked)
        assert asked.ask(talk) >= before.held() - 1


def test_a_prompt_that_comes_again_is_answered_the_same(talk, model):
    """Promise 5: reused where the memory can be cut back to the prompt's end."""
    asked = Chats(model, 7).prompt("", 200)
    asked.ask(talk)
    for _ in range(3):
        reused = asked.ask(talk)
        assert reused > 0 or model.kind not in CUTTABLE


def test_a_prompt_that_differs_in_the_middle_reuses_no_more_than_is_the_same(talk, model):
    """Promise 5: a recurrent state cannot be cut; a window must still hold what the next token looks at."""
    chats = Chats(model, 8)
    begin = chats.text(150)
    first = chats.prompt(begin, 100)
    first.ask(talk)
    for length in (140, 90, 20, 1):
        other = chats.prompt(begin[:length] + "!", 100)
        reused = other.ask(talk)
        assert reused <= first.common(other)
        assert reused == first.common(other) or model.kind != "full"


def test_a_conversation_comes_back_after_others_took_its_cells(serve, model):
    """Promise 5, decision 0007: its state is in host memory meanwhile."""
    talk = serve(*SMALL).connect()
    chats = Chats(model, 9)
    first = chats.prompt("", 250)
    others = chats.crowd()
    for asked in (first, *others):
        asked.ask(talk)
    assert chats.after(first).ask(talk) >= first.held() - 1


def test_without_host_memory_what_was_evicted_is_computed_again(serve, model):
    """Option --host-cache-bytes 0."""
    talk = serve(*SMALL, "--host-cache-bytes", "0").connect()
    chats = Chats(model, 9)
    first = chats.prompt("", 250)
    others = chats.crowd()
    for asked in (first, *others):
        asked.ask(talk)
    back = chats.after(first)
    assert back.ask(talk) <= max(back.common(other) for other in others)


def test_half_of_a_conversation_in_host_memory_is_reused_only_if_the_state_allows_it(serve, model):
    """Promise 5: of a window's layers a state has only the last positions, of a recurrent model's only one."""
    talk = serve().connect()
    chats = Chats(model, 10)
    first = chats.prompt("", 250)
    between = chats.prompt("", 80)  # the first one's cells are given back when this one begins
    half = chats.prompt(first.messages[0]["content"][:190], 20)
    for asked in (first, between, half):
        reused = asked.ask(talk)
    assert reused <= first.common(half)


def test_requests_at_once_share_a_beginning_and_are_answered_right(serve, model):
    """Promise 5: the first computes it for all; a recurrent model computes it for each."""
    daemon = serve()
    chats = Chats(model, 11)
    head = chats.text(200)
    trace = [chats.one(lambda: [system(head), user(chats.text(20))]) for _ in range(8)]
    for _ in range(2):
        conns = [daemon.connect().send(asked.frame()) for asked in trace]
        reused = [asked.check(conn.answer()) for conn, asked in zip(conns, trace)]
        assert max(reused) > 0 or model.kind != "full"


def test_callers_that_leave_at_any_moment_do_not_change_what_others_get(serve, model):
    """Promise 4: an aborted step leaves nothing half computed that anybody goes on with."""
    daemon = serve("--queue-depth", "30")
    chats = Chats(model, 12)
    trace = [chats.prompt("", length) for length in (30, 60, 100, 150, 200, 250)]
    random = Random(13)
    for _ in range(60):
        beside = [(daemon.connect().send(asked.frame()), asked) for asked in random.sample(trace, 4)]
        leavers = [daemon.connect().send(random.choice(trace).frame(max_tokens=100)) for _ in range(7)]
        for leaver in leavers:
            time.sleep(random.random() * 0.001)
            leaver.close()
        for conn, asked in beside:
            asked.check(conn.answer())
            conn.close()
