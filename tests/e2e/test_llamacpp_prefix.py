"""Reuse of held prefixes (promise 5): `cached_prompt_tokens` says what was reused; answers are those of a cold start."""
import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, STORY, assistant, endless, greedy, llama, prompt_tokens, records,
    running, start_llama, system, talk, tell, text_of, user, words)
from wire import request

SYSTEM = "You help sailors. " + words(150)


def usage(conn, *messages, **fields):
    """What a request without an answer costs."""
    done = conn.send(request(messages=list(messages), **{"max_tokens": 0, "temperature": 0, **fields})).answer()[-1]
    assert done["type"] == "done", done
    return done["usage"]


def test_a_prompt_seen_before_is_reused_up_to_its_last_token(talk):
    """Promise 5: one token has to be computed to have something to sample from."""
    first = usage(talk, user("A question that nobody has asked before, about herons."))
    again = usage(talk, user("A question that nobody has asked before, about herons."))
    assert first["cached_prompt_tokens"] < first["prompt_tokens"] - 10
    assert again["cached_prompt_tokens"] == again["prompt_tokens"] - 1 == first["prompt_tokens"] - 1


def test_nothing_is_reused_in_the_first_request_of_an_engine(start_llama):
    """Promise 5: it reports what is true."""
    assert usage(start_llama().connect(), user("Hello."))["cached_prompt_tokens"] == 0


def test_a_conversation_that_goes_on_reuses_its_history_with_the_answers(talk):
    """Promise 5: only the new turn is computed."""
    messages = [user("Say the word.")]
    for turn in range(3):
        frames = talk.send(request(messages=messages, grammar='root ::= "lighthouse keeper"')).answer()
        last = frames[-1]["usage"]
        if turn:
            assert last["cached_prompt_tokens"] >= held
        held = last["prompt_tokens"]
        messages += [assistant(text_of(frames)), user(f"And again, for the {turn}th time.")]


def test_a_long_answer_is_reused_when_it_comes_back_as_history(talk):
    """Promise 5: the answer's own tokens are held too."""
    frames = talk.send(greedy(COUNT, max_tokens=24)).answer()
    history = [user(COUNT), assistant(text_of(frames)), user("Go on.")]
    first = frames[-1]["usage"]
    assert usage(talk, *history)["cached_prompt_tokens"] >= first["prompt_tokens"] + first["completion_tokens"] - 2


def test_a_prompt_that_differs_early_reuses_only_what_is_the_same(talk):
    """Promise 5."""
    empty = usage(talk, user(""))["prompt_tokens"]
    usage(talk, user("Alpha " + words(60)))
    other = usage(talk, user("Omega " + words(60)))
    assert other["cached_prompt_tokens"] < empty


def test_a_prompt_that_is_the_beginning_of_a_held_one_is_reused(talk):
    """Promise 5: switching back, and shorter."""
    usage(talk, system(SYSTEM), user("One."), assistant("Two."), user("Three."))
    shorter = usage(talk, system(SYSTEM), user("One."))
    assert shorter["cached_prompt_tokens"] >= shorter["prompt_tokens"] - 8


def test_switching_between_conversations_reuses_both(talk):
    """Promise 5: switching between chats."""
    chats = [[user(f"Chat {name}: " + words(60))] for name in ("red", "green", "blue")]
    cold = [usage(talk, *chat) for chat in chats]
    for _ in range(2):
        for chat, first in zip(chats, cold):
            assert usage(talk, *chat)["cached_prompt_tokens"] == first["prompt_tokens"] - 1


def test_eight_clients_with_one_system_prompt_pay_for_it_once(llama, talk):
    """Promise 5: the first computes it, all others at once share it."""
    shared = usage(talk, system(SYSTEM), user("First."))["prompt_tokens"]
    conns = [llama.connect().send(request(messages=[system(SYSTEM), user(f"I am number {n}.")], id=str(n), max_tokens=4)) for n in range(8)]
    for conn in conns:
        last = conn.answer()[-1]["usage"]
        assert last["cached_prompt_tokens"] >= shared - 8
        conn.close()


def test_a_prefix_of_a_running_request_is_shared_without_disturbing_it(llama):
    """Promise 5: over all sequences, live and finished."""
    conn = running(llama, endless("live", max_tokens=80))
    for _ in range(3):
        last = tell(llama, request(STORY, max_tokens=2))[-1]["usage"]
        assert last["cached_prompt_tokens"] == last["prompt_tokens"] - 1
    frames = conn.answer()
    assert (frames[-1]["stop_reason"], frames[-1]["usage"]["completion_tokens"]) == ("length", 80)
    assert frames[-1]["content"].isalpha() and frames[-1]["content"].islower()


def test_a_prefix_is_reused_between_different_grammars_samplings_and_connections(llama):
    """Promise 5: what is held are tokens, not requests."""
    first = tell(llama, request("What about owls?", max_tokens=3, temperature=0))[-1]["usage"]
    for fields in ({"grammar": 'root ::= "hoo"'}, {"temperature": 2, "seed": 1}, {"stop": ["x"]}, {"stream": False}):
        last = tell(llama, request("What about owls?", max_tokens=3, **fields))[-1]["usage"]
        assert last["cached_prompt_tokens"] == first["prompt_tokens"] - 1


def test_the_activity_log_records_what_was_reused(llama):
    """Promise 5, issue 3."""
    for n in range(2):
        tell(llama, greedy("Logged, and logged again.", id=f"logged {n}", max_tokens=1))
    record = llama.logged("request_done", req_id="logged 1")
    assert record["cached_prompt_tokens"] == record["prompt_tokens"] - 1


def test_what_a_cancelled_request_left_does_not_change_answers(llama):
    """Promise 4 and 5: its cells are reused or dropped, never read as something else."""
    expected = text_of(tell(llama, greedy(COUNT)))
    for _ in range(4):
        running(llama, greedy(COUNT, max_tokens=500)).close()
    assert text_of(tell(llama, greedy(COUNT))) == expected


@pytest.mark.parametrize("cells, count", [("1024", 60), ("256", 140)])
def test_two_hundred_short_requests_in_small_pools_are_all_answered(start_llama, cells, count):
    """README 10: the prompts change; what was held makes room, and no cell is lost."""
    daemon = start_llama("--kv-cells", cells, "--n-ctx", "200")
    conn = daemon.connect()
    for n in range(count):
        frames = conn.send(greedy(f"{n} {words(n % 9)}", id=str(n), max_tokens=1 + n % 2)).answer()
        assert frames[-1]["type"] == "done", (n, frames[-1])
    assert text_of(conn.send(greedy(COUNT, max_tokens=9)).answer()).startswith("1. 1\n2.")


def test_requests_side_by_side_in_a_small_pool_wait_for_cells_and_are_all_answered(start_llama):
    """README 10: a request reserves its whole length; nobody fails because others hold cells."""
    daemon = start_llama("--kv-cells", "512", "--n-ctx", "512", "--queue-depth", "100")
    conns = [daemon.connect() for _ in range(10)]
    for n, conn in enumerate(conns):
        conn.send(greedy(f"Client {n}: {words(20 + 6 * n)}", id=str(n), max_tokens=6 + 4 * n))
    for n, conn in enumerate(conns):
        last = conn.answer()[-1]
        assert (last["type"], last["id"]) == ("done", str(n)), last


def test_a_request_of_the_whole_pool_waits_until_it_is_free(start_llama):
    """README 10: the second reserves 256 cells of 256; order of arrival holds."""
    daemon = start_llama("--kv-cells", "256", "--n-ctx", "256")
    first = running(daemon, endless("first"))
    second = daemon.connect().send(endless("second", max_tokens=4294967295))
    third = daemon.connect().send(greedy(COUNT, id="third", max_tokens=2))
    for _ in range(5):
        assert first.frame()["type"] == "token"
    first.close()
    assert second.answer()[-1]["stop_reason"] == "length"
    assert text_of(third.answer())
    daemon.logged("request_done", req_id="third")
    assert [r["req_id"] for r in records(daemon, "request_done")] == ["second", "third"]
