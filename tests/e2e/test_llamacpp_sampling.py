"""Sampling: greedy, seeds, the chain's parameters, and stop strings (spec 08 §3.4, README 3)."""
import pytest

from llama_fixtures import COUNT, STORY, endless, greedy, llama, prompt_tokens, running, talk, tell, text_of, user  # noqa: F401
from wire import request

OPEN = "Write a story about a dragon, a baker and the sea."


def sampled(conn, **fields):
    return text_of(conn.send(request(OPEN, max_tokens=16, **fields)).answer())


@pytest.fixture
def warm(talk):
    """A connection whose prompt OPEN is held: what follows is computed in the same batches each time."""
    prompt_tokens(talk, user(OPEN))
    return talk


@pytest.mark.parametrize("prompt", [OPEN, "What is the capital of France?"])
def test_greedy_gives_the_same_text_each_time(talk, prompt):
    """Spec 08 §3.4: temperature 0; nothing of the earlier answer is left in the sequence."""
    prompt_tokens(talk, user(prompt))
    texts = {text_of(talk.send(greedy(prompt, max_tokens=32)).answer()) for _ in range(3)}
    assert len(texts) == 1


def test_greedy_gives_the_same_text_when_its_prefix_is_held(llama):
    """Issue 3: reuse of a held prefix changes nothing."""
    answers = [tell(llama, greedy(COUNT, max_tokens=40)) for _ in range(3)]
    assert answers[2][-1]["usage"]["cached_prompt_tokens"] > answers[0][-1]["usage"]["cached_prompt_tokens"]
    assert len({text_of(frames) for frames in answers}) == 1


def test_greedy_gives_the_same_text_beside_other_requests(llama):
    """Issue 3: sequences of one batch do not mix."""
    alone = text_of(tell(llama, greedy(COUNT, max_tokens=40)))
    others = [running(llama, endless(f"beside {n}")) for n in range(3)]
    assert text_of(tell(llama, greedy(COUNT, max_tokens=40))) == alone
    for other in others:
        other.close()


@pytest.mark.parametrize("seed", [0, 42, 4294967295])
def test_the_same_seed_gives_the_same_text(warm, seed):
    """README 3: `seed`, any u32."""
    assert len({sampled(warm, seed=seed, temperature=1.5) for _ in range(3)}) == 1


def test_another_seed_gives_another_text(warm):
    """README 3."""
    assert len({sampled(warm, seed=seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("fields", [{}, {"seed": None}], ids=["absent", "null"])
def test_without_a_seed_each_answer_is_another(warm, fields):
    """README 3: absent is random; 0.2.1's constant is dropped."""
    assert len({sampled(warm, temperature=1.2, **fields) for _ in range(4)}) > 1


def test_a_seed_means_the_same_on_another_connection_and_beside_others(llama, warm):
    """README 3: the seed belongs to the request, not to the engine."""
    alone = sampled(warm, seed=7, grammar="root ::= [ab]{30}", temperature=50)
    other = running(llama, endless("beside"))
    conn = llama.connect()
    assert sampled(conn, seed=7, grammar="root ::= [ab]{30}", temperature=50) == alone
    other.close(), conn.close()


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"top_p": 0}, {"top_p": -1}, {"temperature": -1}, {"temperature": 1e-9}], ids=str)
def test_parameters_that_leave_one_token_are_greedy(warm, fields):
    """Spec 08 §3.4: top-k, top-p (at least one is kept), temperature, in this order; temperature ≤ 0 is greedy."""
    assert sampled(warm, **{"temperature": 1, **fields}) == sampled(warm, temperature=0)


@pytest.mark.parametrize("fields", [{"top_k": 0}, {"top_k": 4294967295}, {"top_k": 2147483648}, {"top_p": 1}, {"top_p": 1e30}, {"top_p": 5e-324},
                                    {"temperature": 1e308}, {"temperature": 1e-320}, {"temperature": -1e308},
                                    {"temperature": 1e308, "grammar": "root ::= [a-z]{8}"}, {"temperature": 1e38, "top_k": 0, "top_p": 1}], ids=str)
def test_odd_parameters_are_served(warm, fields):
    """Spec 01 §8.8: they are unchecked on the wire, so each has to have a meaning."""
    assert sampled(warm, **{"temperature": 1, **fields})


def whole(conn):
    frames = conn.send(greedy(STORY, max_tokens=32)).answer()
    return text_of(frames), [f["content"] for f in frames[:-1]]


def stopped(conn, *stops, **fields):
    frames = conn.send(greedy(STORY, max_tokens=32, stop=list(stops), **fields)).answer()
    return text_of(frames), frames[-1]


@pytest.mark.parametrize("at", [1, 5, 12])
def test_a_stop_string_ends_the_answer_before_it_also_across_tokens(talk, at):
    """README 3: v1 reports `end`; the string itself is in no frame, not even its first half."""
    prompt_tokens(talk, user(STORY))
    text, pieces = whole(talk)
    stop = pieces[at][-1] + pieces[at + 1] + pieces[at + 2][:1]
    content, done = stopped(talk, stop)
    assert content == text[:text.index(stop)]
    assert done["stop_reason"] == "end" and done["usage"]["completion_tokens"] < 32


def test_the_stop_string_that_comes_first_in_the_text_ends_it(talk):
    """README 3: whatever their order in the list; one that is within another counts by where it begins."""
    text, _ = whole(talk)
    early, late = text[20:26], text[40:44]
    assert stopped(talk, late, "never there", early)[0] == text[:min(text.index(early), text.index(late))]
    assert stopped(talk, text[30:32], text[25:40])[0] == text[:min(text.index(text[30:32]), text.index(text[25:40]))]


def test_a_stop_string_at_the_very_beginning_leaves_no_text(talk):
    """README 3."""
    text, _ = whole(talk)
    assert stopped(talk, text[:3])[0] == ""


def test_text_that_only_begins_like_a_stop_string_is_delivered(talk):
    """README 3: what was held back comes when it is clear, at the latest with the end."""
    text, _ = whole(talk)
    content, done = stopped(talk, text[-3:] + "\0", text[10:14] + "\0", " " * 250)
    assert (content, done["stop_reason"]) == (text, "length")


def test_sixteen_stop_strings_of_256_bytes_are_served(talk):
    """README 3: the limits themselves."""
    text, _ = whole(talk)
    assert stopped(talk, *(f"{n:02}".ljust(256, "x") for n in range(16)))[0] == text


def test_a_stop_string_of_several_bytes_a_character_ends_the_text_before_it(talk):
    """README 3 with whole UTF-8."""
    frames = talk.send(request("Write.", grammar='root ::= "日本語日本語"', stop=["語日"], temperature=0)).answer()
    assert (text_of(frames), frames[-1]["stop_reason"]) == ("日本", "end")


def test_a_stop_string_works_without_a_stream_and_from_a_grammar(talk):
    """README 1 and 3."""
    [done] = talk.send(request("Go.", grammar='root ::= "one, two, three"', stop=[", th", "two,x"], stream=False)).answer()
    assert (done["content"], done["stop_reason"]) == ("one, two", "end")
