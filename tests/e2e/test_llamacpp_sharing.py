"""One engine, many callers (promises 3, 5 and 13, doc/decisions/0007): prefixes in the making are shared, another user cannot tell what is
held, places move to who has a better claim, and cells are reserved, never fought for. Answers are recitals: known beforehand, and of
nobody else."""
import os
import random
import signal
from functools import partial

import pytest

from callers import NOBODY, arrived, caller, dial_tcp, frozen, open_to  # noqa: F401
from llama_fixtures import (  # noqa: F401
    COUNT, cpu_ticks, endless, engine_pid, greedy, is_silent, records,
    running, start_llama, system, tell, text_of, user, words)
from recital import lines_of, recital
from wire import assert_error, request

SHARED = system("You help sailors. " + words(700))  # more than a step takes
LONG = system("You help sailors a lot. " + words(600))
REST, SHORT_REST = 160, 110  # more prompt tokens than a recital's conversation has, of 8 numbers and of 3


def usage(conn, **fields):
    """What a request for the answer's first token costs."""
    done = conn.send(request(temperature=0, **{"max_tokens": 1, **fields})).answer()[-1]
    assert done["type"] == "done", done
    return done["usage"]


def prefilling(daemon, request):
    """Sends a request and returns when its prompt is being computed, with a good part of it still to come."""
    conn = daemon.connect().send(request | {"progress": True})
    status = conn.frame()
    assert status["status"] == "prefill" and status["prompt_tokens_done"] + 200 < status["prompt_tokens"], status
    return conn


def rest_of(conn):
    """The frames of an answer without `status`."""
    return [frame for frame in conn.answer() if frame["type"] != "status"]


def ended(daemon, last):
    """The ids of all requests in the order of their ends; `last` is among them."""
    daemon.logged("request_done", req_id=last)
    return [record["req_id"] for record in records(daemon, "request_done")]


def computed(usage):
    return usage["prompt_tokens"] - usage["cached_prompt_tokens"]


# ---- a prefix in the making


def test_a_second_request_waits_for_a_beginning_that_is_being_computed(start_llama):
    """Promise 5: it computes only its own rest; both answers are right."""
    daemon = start_llama("--active-permits", "2")
    texts = [lines_of(n) for n in (1, 2)]
    first = prefilling(daemon, recital(texts[0], SHARED, id="first"))
    second = daemon.connect().send(recital(texts[1], SHARED, id="second"))
    answers = [rest_of(conn) for conn in (first, second)]
    assert [text_of(frames) for frames in answers] == texts
    costs = [frames[-1]["usage"] for frames in answers]
    assert computed(costs[0]) > 400 and computed(costs[1]) < REST, costs


def test_eight_at_once_with_one_long_beginning_compute_it_once(start_llama):
    """Promise 5: together, one beginning and eight rests; each gets its own answer."""
    daemon = start_llama()
    conns = [daemon.connect() for _ in range(8)]
    for n, conn in enumerate(conns, 1):
        conn.send(recital(lines_of(n, 3), LONG, id=str(n)))
    costs = []
    for n, conn in enumerate(conns, 1):
        frames = conn.answer()
        assert (text_of(frames), {frame["id"] for frame in frames}) == (lines_of(n, 3), {str(n)})
        costs.append(frames[-1]["usage"])
    assert sum(map(computed, costs)) < min(cost["prompt_tokens"] for cost in costs) + 8 * SHORT_REST, costs


def test_a_beginning_whose_computing_is_given_up_is_not_lost_for_who_waited_for_it(start_llama):
    """Promise 4 and 5: the first hangs up in the middle of it."""
    daemon = start_llama("--active-permits", "3")
    first = prefilling(daemon, recital(lines_of(1), SHARED, id="first"))
    others = {n: daemon.connect().send(recital(lines_of(n), SHARED, id=str(n))) for n in (2, 3)}
    daemon.settle()
    first.close()
    for n, conn in others.items():
        assert text_of(conn.answer()) == lines_of(n)


def test_a_request_with_another_beginning_does_not_wait(start_llama):
    """Promise 13: only who gains by it waits for a prefix."""
    daemon = start_llama("--active-permits", "2")
    first = prefilling(daemon, greedy("First: " + words(1500), id="first"))
    assert text_of(tell(daemon, greedy(COUNT, id="other", max_tokens=2)))
    assert ended(daemon, "other") == ["other"]
    first.close()


# ---- who may know what is held


@pytest.fixture
def two_users(start_llama, place, caller):
    """Starts a daemon; gives it, and dials by this user and by another."""
    def go(*args):
        group = open_to(place)
        daemon = start_llama("--group", group.gr_name, *args)
        return daemon, daemon.connect, caller(daemon, user=NOBODY, group=group.gr_gid).dial
    return go


PROMPT = "What does a heron eat? " + words(80)


def cached(dial, text=PROMPT):
    """(cached, all) tokens of the prompt."""
    conn = dial()
    cost = usage(conn, messages=[user(text)])
    conn.close()
    return cost["cached_prompt_tokens"], cost["prompt_tokens"]


@pytest.mark.parametrize("args", [(), ("--prefix-sharing", "user")], ids=["default", "user"])
def test_another_user_gets_nothing_of_what_is_held_but_its_own(two_users, args):
    """Promise 5 and 8: not even the template's beginning; the first user's prefixes stay the first user's."""
    _, ours, theirs = two_users(*args)
    _, count = cached(ours)
    assert cached(ours) == (count - 1, count)
    assert cached(theirs) == (0, count)
    assert cached(theirs) == (count - 1, count)
    assert cached(ours) == (count - 1, count)


def test_with_prefix_sharing_all_another_user_gets_what_is_held(two_users):
    """Promise 5: the operator says so."""
    _, ours, theirs = two_users("--prefix-sharing", "all")
    _, count = cached(ours)
    assert cached(theirs) == (count - 1, count)


def test_another_user_does_not_wait_for_a_prompt_that_is_being_computed(two_users):
    """Promise 5 and 8: nothing of a running request either."""
    daemon, _, theirs = two_users("--active-permits", "2")
    first = prefilling(daemon, recital(lines_of(1), SHARED, id="first"))
    other = theirs().send(recital(lines_of(1), SHARED, id="other"))
    frames = other.answer()
    assert (text_of(frames), frames[-1]["usage"]["cached_prompt_tokens"]) == (lines_of(1), 0)
    assert text_of(rest_of(first)) == lines_of(1)


def test_another_user_cannot_tell_by_the_engines_work_that_a_prompt_is_held(two_users):
    """Issue "2 of 5": measured in CPU time of the engine: a held prompt costs its own user next to nothing and a stranger as much as a
    prompt that nobody has sent before."""
    daemon, ours, theirs = two_users()
    pid = engine_pid(daemon)

    def work(dial, text):
        before = cpu_ticks(pid)
        cached(dial, text)
        return cpu_ticks(pid) - before

    held, new = "Held. " + words(200), "New. " + words(200)
    work(theirs, "Hello."), work(ours, held)
    known = work(ours, held)
    strangers = {text: work(theirs, text) for text in (held, new)}
    assert strangers[held] > 5 * known, (known, strangers)
    assert strangers[held] > strangers[new] / 2, (known, strangers)


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_on_tcp_whoever_has_the_key_shares(start_llama, source):
    """Promise 5: the same key, from the same or another address."""
    daemon = start_llama("--api-key", "k", tcp="127.0.0.1")
    _, count = cached(partial(dial_tcp, daemon, "127.0.0.1", "k"))
    assert cached(partial(dial_tcp, daemon, source, "k")) == (count - 1, count)


@pytest.mark.parametrize("value", ["", "none", "User", "user,all"])
def test_an_unknown_prefix_sharing_is_a_usage_error(start, value):
    """Spec 05 §1: exit 2, by name, from the command line and from the environment."""
    start.fails(f"--prefix-sharing={value}", code=2, says="prefix-sharing")
    start.fails(env={"INFERD_PREFIX_SHARING": value}, code=2, says="prefix-sharing")


# ---- finished sequences in host memory


def three_chats_in_turn(daemon):
    """Cells for one and a half of them; returns what each cost at its second turn."""
    chats = [recital(lines_of(n, 3), system(f"Chat {n}: " + words(50)), max_tokens=30) for n in (1, 2, 3)]
    for turn in range(2):
        costs = []
        for n, chat in enumerate(chats, 1):
            frames = tell(daemon, chat)
            assert text_of(frames) == lines_of(n, 3), turn
            costs.append(frames[-1]["usage"])
    return costs


SMALL = ("--kv-cells", "256", "--n-ctx", "256")


def test_what_fell_out_of_the_cells_comes_back_from_host_memory(start_llama):
    """Promise 5: switching between chats is instant, also where the cells are too few for all of them."""
    for cost in three_chats_in_turn(start_llama(*SMALL)):
        assert computed(cost) == 1, cost


@pytest.mark.parametrize("size", ["0", "1000"])
def test_without_room_in_host_memory_it_is_computed_again(start_llama, size):
    """Promise 5: its own budget, which may be none; the answers are the same."""
    for cost in three_chats_in_turn(start_llama(*SMALL, "--host-cache-bytes", size)):
        assert computed(cost) > 100, cost


# ---- places


def first_frame(conn):
    frame = conn.frame()
    assert frame["type"] == "token", frame
    return [frame]


@pytest.mark.parametrize("permits", [1, 2])
def test_batch_requests_are_paused_for_interactive_ones_and_finish_as_if_undisturbed(start_llama, permits):
    """Promise 13: every place is taken by batch; who comes in between is answered first; nothing of the paused ones is lost or doubled."""
    daemon = start_llama("--active-permits", str(permits))
    texts = [lines_of(n, 20) for n in range(1, permits + 1)]
    alone = [tell(daemon, recital(text, id="alone"))[-1]["usage"] for text in texts]
    conns = [daemon.connect().send(recital(text, id=f"batch {n}", priority="batch")) for n, text in enumerate(texts)]
    answers = [first_frame(conn) for conn in conns]
    with frozen(engine_pid(daemon)):
        interactive = {n: daemon.connect().send(recital(lines_of(n, 3), id=str(n))) for n in (50, 51, 52)}
        daemon.settle()
    for n, conn in interactive.items():
        assert text_of(conn.answer()) == lines_of(n, 3)
    for frames, conn, text, cost in zip(answers, conns, texts, alone):
        frames += conn.answer()
        assert (text_of(frames), frames[-1]["stop_reason"]) == (text, "end")
        assert {**frames[-1]["usage"], "cached_prompt_tokens": 0} == {**cost, "cached_prompt_tokens": 0}
    order = [id for id in ended(daemon, f"batch {permits - 1}") if id != "alone"]
    assert set(order[:3]) == {"50", "51", "52"}, order


def test_a_batch_request_is_paused_in_its_prefill_and_goes_on_where_it_was(start_llama):
    """Promise 13, decision 0007: what was computed is kept."""
    daemon = start_llama("--active-permits", "1")
    batch = prefilling(daemon, recital(lines_of(1), SHARED, id="batch", priority="batch"))
    assert text_of(tell(daemon, recital(lines_of(2), id="interactive"))) == lines_of(2)
    assert ended(daemon, "interactive") == ["interactive"]
    frames = batch.answer()
    done = [frame["prompt_tokens_done"] for frame in frames if frame.get("status") == "prefill"]
    assert done == sorted(done) and done[-1] == frames[-1]["usage"]["prompt_tokens"], done
    assert text_of([frame for frame in frames if frame["type"] != "status"]) == lines_of(1)


def test_a_batch_request_that_is_paused_again_and_again_ends_with_the_right_text(start_llama):
    """Promise 13: five interactive requests, one after the other, each while it runs."""
    daemon = start_llama("--active-permits", "1")
    text = lines_of(7, 30)
    batch = daemon.connect().send(recital(text, id="batch", priority="batch"))
    frames = first_frame(batch)
    for n in range(5):
        assert text_of(tell(daemon, request("Say it.", id=str(n), grammar='root ::= "it"'))) == "it"
        frames += first_frame(batch)
    frames += batch.answer()
    assert text_of(frames) == text
    assert ended(daemon, "batch") == [*"01234", "batch"]


def test_a_request_that_was_paused_before_its_first_token_ends_with_the_engine_once_it_streams(start_llama):
    """Issue "2 of 5" item 6: one error; it is not begun anew by the next engine, whose text would follow on what was sent."""
    daemon = start_llama("--active-permits", "1")
    batch = prefilling(daemon, recital(lines_of(1, 30), SHARED, id="batch", priority="batch"))
    assert text_of(tell(daemon, recital(lines_of(2, 3), id="interactive"))) == lines_of(2, 3)
    while batch.frame()["type"] != "token":
        pass
    os.kill(engine_pid(daemon), signal.SIGKILL)
    assert_error(batch.answer()[-1], "backend_unavailable", "batch")


def test_a_paused_request_whose_client_hangs_up_is_forgotten(start_llama):
    """README 11: it holds no place and gets none later."""
    daemon = start_llama("--active-permits", "1")
    batch = running(daemon, endless("batch", priority="batch"))
    interactive = running(daemon, endless("interactive"))
    batch.close()
    assert daemon.logged("request_cancelled", req_id="batch")
    assert interactive.frame()["type"] == "token"
    interactive.close()
    assert text_of(tell(daemon, recital(lines_of(1)))) == lines_of(1)


def test_a_batch_request_runs_on_beside_interactive_ones_while_there_is_a_place(start_llama):
    """Promise 13: nobody is paused for nothing."""
    daemon = start_llama("--active-permits", "2")
    conns = [running(daemon, endless("batch", priority="batch")), running(daemon, endless("interactive"))]
    for _ in range(20):
        assert [conn.frame()["type"] for conn in conns] == ["token"] * 2


def holds_all(daemon, dial, max_tokens=200):
    """One process has both places of two; another caller comes: it is answered before either ends, and both still end whole."""
    own = [daemon.connect().send(endless(f"own {n}", max_tokens=max_tokens)) for n in range(2)]
    answers = [first_frame(conn) for conn in own]
    assert text_of(dial().send(recital(lines_of(3, 3), id="other")).answer()) == lines_of(3, 3)
    assert ended(daemon, "other") == ["other"]
    for frames, conn in zip(answers, own):
        frames += conn.answer()
        assert text_of(frames).isalpha()
        assert (frames[-1]["stop_reason"], frames[-1]["usage"]["completion_tokens"]) == ("length", max_tokens)


def test_another_process_gets_a_place_while_one_holds_them_all(start_llama, caller):
    """README 9, promise 13: endless answers are no claim to every place."""
    daemon = start_llama("--active-permits", "2")
    holds_all(daemon, caller(daemon).dial)


def test_another_user_gets_a_place_while_one_holds_them_all(two_users):
    """README 9: the same at the level of users."""
    daemon, _, theirs = two_users("--active-permits", "2")
    holds_all(daemon, theirs)


def test_places_are_balanced_between_processes(start_llama, caller):
    """Decision 0007: of four places each of two processes gets two; a third request of the second one waits; when the second is gone, the
    first has all again."""
    daemon = start_llama("--active-permits", "4", "--n-ctx", "2048")
    first = [running(daemon, endless(f"a{n}")) for n in range(4)]
    other = caller(daemon)
    second = [other.dial().send(endless(f"b{n}")) for n in range(2)]
    for conn in second:
        first_frame(conn)
    third = other.submit("third", max_tokens=2)
    for conn in second * 3:
        first_frame(conn)
    for conn in first:
        arrived(conn)
    for conn in second * 10:
        first_frame(conn)
    assert sorted(bool(arrived(conn)) for conn in first) == [False, False, True, True]
    assert is_silent(third)
    for conn in (*second, third):
        conn.close()
    for conn in first:
        first_frame(conn)


# ---- cells


def test_who_waits_for_cells_runs_as_soon_as_the_last_one_has_ended(start_llama):
    """README 10: two that reserve the whole pool; nothing else happens when the first is done, no hang-up and no new request."""
    daemon = start_llama("--kv-cells", "256", "--n-ctx", "256")
    pid = engine_pid(daemon)
    conns = {n: daemon.connect().send(recital(lines_of(n, 3), id=str(n))) for n in (1, 2)}
    for n, conn in conns.items():
        assert text_of(conn.answer()) == lines_of(n, 3)
    assert engine_pid(daemon) == pid, "the engine stood still and had to be ended"


def test_requests_that_together_need_far_more_cells_than_there_are_all_end_with_their_answers(start_llama, caller):
    """README 10, promise 1: two processes, both classes, shared and own beginnings, reservations of a whole context each."""
    dice = random.Random(4)
    daemon = start_llama("--kv-cells", "480", "--n-ctx", "400", "--queue-depth", "60")
    callers, pid = [caller(daemon) for _ in range(2)], engine_pid(daemon)
    conns = []
    for n in range(1, 13):
        before = [system("A shared beginning. " + words(40))] if n % 2 else []
        conns.append(callers[n // 2 % 2].dial().send(
            recital(lines_of(n, 3), *before, id=str(n), priority=dice.choice(["interactive", "batch"]), max_tokens=dice.choice([40, 400]))))
    for n, conn in enumerate(conns, 1):
        frames = conn.answer()
        assert (text_of(frames), frames[-1]["id"]) == (lines_of(n, 3), str(n))
    assert engine_pid(daemon) == pid


def test_streams_keep_their_cells_until_the_end_whatever_waits(start_llama):
    """README 10: six that each grow to the whole context, in a pool for two and a half."""
    daemon = start_llama("--kv-cells", "320", "--n-ctx", "128")
    conns = [daemon.connect().send(endless(str(n), max_tokens=4294967295, priority=("interactive", "batch")[n % 2])) for n in range(6)]
    for n, conn in enumerate(conns):
        frames = conn.answer()
        assert text_of(frames).isalpha() and frames[-1]["stop_reason"] == "length"
        cost = frames[-1]["usage"]
        assert 127 <= cost["prompt_tokens"] + cost["completion_tokens"] <= 128, (n, cost)
