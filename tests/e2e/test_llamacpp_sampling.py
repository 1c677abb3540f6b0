"""Sampling: greedy, seeds, the chain's parameters, and stop strings (spec 08 §3.4, README 3)."""
import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, STORY, endless, greedy, llama, prompt_tokens, running, talk, tell,
    text_of, user)
from wire import request

OPEN = "Write a story about a dragon, a baker and the sea."


# So flat that the logits hardly matter. With digits only, ten tokens share the distribution; with all words of a to z, some ten
# thousand do, and the rounding that depends on where the cells of a prompt lie moves a draw over a boundary between two of them.
FLAT = {"temperature": 50, "top_k": 0, "top_p": 1}


def sampled(conn, **fields):
    return text_of(conn.send(request(OPEN, max_tokens=12, **fields)).answer())


def digits(conn, **fields):
    """Digits drawn by the seed."""
    return sampled(conn, grammar="root ::= [0-9]{12}", **FLAT, **fields)


@pytest.mark.parametrize("prompt", [COUNT, OPEN])
def test_greedy_gives_the_same_text_each_time(talk, prompt):
    """Spec 08 §3.4, temperature 0: one client, one request after the other, wherever the cache puts them."""
    prompt_tokens(talk, user(prompt))
    texts = [text_of(talk.send(greedy(prompt, max_tokens=16)).answer()) for _ in range(8)]
    assert texts == texts[:1] * 8


def test_greedy_gives_the_same_text_when_its_prefix_is_held(llama):
    """Issue 3: reuse of a held prefix changes nothing, of none, half, or all but one token of the prompt."""
    prompt = "I have one question. " + COUNT
    cold = tell(llama, greedy(prompt))
    tell(llama, greedy("I have one question. What is new?", max_tokens=0))
    warm = [tell(llama, greedy(prompt)) for _ in range(2)]
    assert warm[0][-1]["usage"]["cached_prompt_tokens"] > cold[-1]["usage"]["cached_prompt_tokens"]
    assert {text_of(frames) for frames in warm} == {text_of(cold)}


def test_greedy_gives_the_same_text_beside_other_requests(llama):
    """Issue 3: sequences of one batch do not mix."""
    alone = text_of(tell(llama, greedy(COUNT)))
    others = [running(llama, endless(f"beside {n}")) for n in range(3)]
    assert text_of(tell(llama, greedy(COUNT))) == alone
    for other in others:
        other.close()


@pytest.mark.parametrize("seed", [0, 42, 2147483648, 4294967294, 4294967295])
def test_the_same_seed_gives_the_same_text(talk, seed):
    """README 3: `seed`, any u32."""
    assert len({digits(talk, seed=seed) for _ in range(3)}) == 1


def test_another_seed_gives_another_text(talk):
    """README 3."""
    assert len({digits(talk, seed=seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("fields", [{}, {"seed": None}], ids=["absent", "null"])
def test_without_a_seed_each_answer_is_another(talk, fields):
    """README 3: absent is random; 0.2.1's constant is dropped."""
    assert len({digits(talk, **fields) for _ in range(3)}) == 3


def test_a_seed_means_the_same_on_another_connection_and_beside_others(llama, talk):
    """README 3: the seed belongs to the request, not to the engine."""
    alone = digits(talk, seed=7)
    other = running(llama, endless("beside", seed=7))
    conn = llama.connect()
    assert digits(conn, seed=7) == alone
    other.close(), conn.close()


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"top_p": 0}, {"top_p": -1}, {"temperature": -1}, {"temperature": 1e-9}], ids=str)
def test_parameters_that_leave_one_token_are_greedy(talk, fields):
    """Spec 08 §3.4: top-k, top-p (at least one is kept), temperature, in this order; temperature ≤ 0 is greedy."""
    fields = {"temperature": 100, "top_k": 0, "top_p": 1, **fields}
    assert text_of(talk.send({**greedy(COUNT), **fields}).answer()) == text_of(talk.send(greedy(COUNT)).answer())


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"top_k": 4294967295}, {"top_k": 2147483648}, {"top_p": 1}, {"top_p": 1e30}, {"top_p": 5e-324},
                                    {"temperature": 1e308}, {"temperature": 1e-320}, {"temperature": -1e308},
                                    {"temperature": 1e308, "grammar": "root ::= [a-z]{8}"}, {"temperature": 1e38, "top_k": 0, "top_p": 1}], ids=str)
def test_odd_parameters_are_served(talk, fields):
    """Spec 01 §8.8: they are unchecked on the wire, so each has to have a meaning."""
    assert sampled(talk, **{"temperature": 1, **fields})


TEXT = "In the quiet town of Ravenport, an old fox kept the lighthouse, and the lighthouse kept him."


def stopped(conn, *stops, text=TEXT, **fields):
    """The answer to a request whose grammar leaves this text only."""
    frames = conn.send(request(STORY, grammar=f'root ::= "{text}"', stop=list(stops), temperature=0, **fields)).answer()
    return text_of(frames), frames[-1]


@pytest.mark.parametrize("stop", ["n old fo", "Ravenport, an", "quiet", ".", "him."])
def test_a_stop_string_ends_the_answer_before_it_also_across_tokens(talk, stop):
    """README 3: v1 reports `end`; the string itself is in no frame, not even its first half."""
    content, done = stopped(talk, stop)
    assert content == TEXT[:TEXT.index(stop)]
    assert done["stop_reason"] == "end" and done["usage"]["completion_tokens"] > 0


def test_the_first_occurrence_counts(talk):
    """README 3: the string stands twice in the text."""
    assert stopped(talk, " lighthouse")[0] == TEXT[:TEXT.index(" lighthouse")]


@pytest.mark.parametrize("stops", [(" kept", "Ravenport"), ("Ravenport", " kept"), ("never", "lighthouse", "an old")], ids=str)
def test_of_several_stop_strings_the_first_in_the_text_ends_the_answer(talk, stops):
    """README 3: whatever their order in the list."""
    assert stopped(talk, *stops)[0] == TEXT[:min(TEXT.index(stop) for stop in stops if stop in TEXT)]


def test_a_stop_string_at_the_very_beginning_leaves_no_text(talk):
    """README 3."""
    content, done = stopped(talk, "In")
    assert (content, done["stop_reason"]) == ("", "end")


@pytest.mark.parametrize("stops", [("him.\0",), ("fox kept the lightning", "him. ", TEXT[:60] + ";")], ids=str)
def test_text_that_only_begins_like_a_stop_string_is_delivered(talk, stops):
    """README 3: what was held back comes when it is clear, at the latest with the end."""
    content, done = stopped(talk, *stops)
    assert (content, done["stop_reason"]) == (TEXT, "end")


def test_what_was_held_back_is_delivered_when_the_length_is_reached(talk):
    """README 3 and 5: nothing is cut silently."""
    whole = stopped(talk, max_tokens=6)[0]
    assert stopped(talk, whole[-4:] + "\0", max_tokens=6)[0] == whole
    assert stopped(talk, whole + "\0", max_tokens=6)[0] == whole


def test_sixteen_stop_strings_of_256_bytes_are_served(talk):
    """README 3: the limits themselves."""
    assert stopped(talk, *(f"{n:02}".ljust(256, "x") for n in range(16)))[0] == TEXT


def test_a_stop_string_of_several_bytes_a_character_ends_the_text_before_it(talk):
    """README 3 with whole UTF-8."""
    content, done = stopped(talk, "語日", text="日本語日本語")
    assert (content, done["stop_reason"]) == ("日本", "end")


def test_a_stop_string_works_without_a_stream(talk):
    """README 1 and 3."""
    [done] = talk.send(request("Go.", grammar='root ::= "one, two, three"', stop=[", th", "two,x"], stream=False)).answer()
    assert (done["content"], done["stop_reason"]) == ("one, two", "end")
