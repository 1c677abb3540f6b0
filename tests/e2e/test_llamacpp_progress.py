"""`progress` while a model computes a prompt (README 3): how far it is, before the first token; and nothing for who did not ask."""
from itertools import pairwise

import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, assistant, endless, greedy, llama, running, start_llama, tell, text_of, user, words)
from recital import lines_of, recital
from wire import assert_error, request

KEYS = ["type", "id", "status", "prompt_tokens_done", "prompt_tokens"]


def split(frames):
    """The status frames of an answer, which all come before its first token, and the rest."""
    count = sum(frame["type"] == "status" for frame in frames)
    assert all(frame["type"] == "status" for frame in frames[:count]), [frame["type"] for frame in frames]
    return frames[:count], frames[count:]


def assert_prefill(statuses, usage):
    """They rise up to at most the prompt's tokens."""
    assert {frame["prompt_tokens"] for frame in statuses} == {usage["prompt_tokens"]}
    done = [frame["prompt_tokens_done"] for frame in statuses]
    assert all(before < after for before, after in pairwise(done)), done
    assert usage["cached_prompt_tokens"] <= done[0] and done[-1] <= usage["prompt_tokens"], (done, usage)


def test_a_long_prompt_tells_how_far_it_is(llama):
    """README 3: several frames before the first token, keys in their order."""
    statuses, rest = split(tell(llama, greedy("Long: " + words(700), id="long", max_tokens=3, progress=True)))
    assert len(statuses) > 1
    assert all(list(frame) == KEYS and (frame["id"], frame["status"]) == ("long", "prefill") for frame in statuses)
    assert_prefill(statuses, rest[-1]["usage"])
    assert text_of(rest) is not None


def test_the_answer_is_the_one_without_progress(llama):
    """README 3: only `status` frames are added."""
    text = lines_of(7)
    plain = tell(llama, recital(text))
    _, rest = split(tell(llama, recital(text, progress=True)))
    assert text_of(rest) == text_of(plain) == text


def test_without_a_stream_the_prefill_is_told_all_the_same(llama):
    """README 1 and 3."""
    statuses, rest = split(tell(llama, greedy("Whole: " + words(300), max_tokens=2, progress=True, stream=False)))
    assert statuses and [frame["type"] for frame in rest] == ["done"]
    assert_prefill(statuses, rest[-1]["usage"])


def test_what_is_reused_is_done_from_the_start(llama):
    """Promise 5: the numbers are those of the whole prompt."""
    turns = [user("Reused: " + words(300))]
    tell(llama, request(messages=turns, max_tokens=0))
    turns += [assistant("Yes."), user(words(100))]
    statuses, rest = split(tell(llama, request(messages=turns, max_tokens=1, progress=True)))
    assert rest[-1]["usage"]["cached_prompt_tokens"] > 300
    assert_prefill(statuses, rest[-1]["usage"])


def test_a_request_that_waits_is_told_its_position_and_then_its_prefill(start_llama):
    """README 3: in this order."""
    daemon = start_llama("--active-permits", "1")
    first = running(daemon, endless("first"))
    conn = daemon.connect().send(greedy(words(500), id="waits", max_tokens=2, progress=True))
    assert conn.frame() == {"type": "status", "id": "waits", "status": "queued", "position": 1}
    first.close()
    statuses, rest = split(conn.answer())
    assert statuses and {frame["status"] for frame in statuses} == {"prefill"}
    assert_prefill(statuses, rest[-1]["usage"])


def test_two_long_prompts_side_by_side_each_hear_of_their_own(llama):
    """README 3: ids and numbers are not mixed up."""
    prompts = {"one": "One: " + words(200), "other": "Other: " + words(300)}
    conns = {id: llama.connect().send(greedy(text, id=id, max_tokens=2, progress=True)) for id, text in prompts.items()}
    totals = set()
    for id, conn in conns.items():
        statuses, rest = split(conn.answer())
        assert {frame["id"] for frame in statuses + rest} == {id}
        assert_prefill(statuses, rest[-1]["usage"])
        totals.add(rest[-1]["usage"]["prompt_tokens"])
        conn.close()
    assert len(totals) == 2


@pytest.mark.parametrize("fields", [{}, {"progress": False}, {"progress": None}], ids=str)
def test_a_published_client_never_gets_a_status_frame(llama, fields):
    """Spec 01 §6: with a long prompt too."""
    frames = tell(llama, greedy(f"{fields} " + words(300), max_tokens=3, **fields))
    assert [frame["type"] for frame in frames[:-1]] == ["token"] * (len(frames) - 1)
    assert frames[-1]["type"] == "done"


def test_a_prompt_that_does_not_fit_is_refused_without_a_status_frame(llama):
    """README 5: nothing of it was begun."""
    [error] = tell(llama, greedy(words(9000), id="over", progress=True))
    assert_error(error, "invalid_request", "over", "8192")


def test_a_client_that_hangs_up_while_it_is_told_frees_its_place(start_llama):
    """README 11: in the middle of a prompt."""
    daemon = start_llama("--active-permits", "1")
    gone = daemon.connect().send(greedy(words(4000), id="gone", progress=True))
    assert gone.frame()["prompt_tokens_done"] < 4000
    gone.close()
    assert daemon.logged("request_cancelled", req_id="gone")["state"] == "running"
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=4)))
