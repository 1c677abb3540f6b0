"""A real model's answer: its text, its counts, its template, and that UTF-8 stays whole (spec 08 §3, README 8)."""
import itertools
import json

import pytest

from llama_fixtures import (  # noqa: F401
    COUNT, DEFAULT_SHA256, assistant, endless, greedy, llama, model_sha256,
    prompt_tokens, running, start_llama, system, talk, text_of, user)
from wire import assert_error, request

FRAME_KEYS = ["type", "id", "content", "usage", "stop_reason", "backend"]
DEFAULT_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"  # in the default model's template
WIDE = {"symbols": ("root ::= [☀-⛿]{20}", "☀", "⛿", 20), "emoji": ("root ::= [😀-🙏]{10}", "😀", "🙏", 10),
        "Chinese": ("root ::= [一-龥]{12}", "一", "龥", 12), "two bytes": ("root ::= [а-я]{16}", "а", "я", 16)}


@pytest.fixture
def default_model():
    if model_sha256() != DEFAULT_SHA256:
        pytest.skip("INFERD_MODEL is another model: its template's system message is not known here")


def conversation(conn, *messages, **fields):
    """Greedy, one token: the frames' last."""
    return conn.send(request(messages=list(messages), temperature=0, max_tokens=1, **fields)).answer()[-1]


def test_a_question_gets_real_text_in_frames_that_add_up_to_the_done_frame(talk):
    """E13, spec 01 §6: tokens, then done with the whole text, usage, reason and the backend's name."""
    frames = talk.send(greedy("How many legs does a dog have?", id="legs", max_tokens=48)).answer()
    assert [f["type"] for f in frames[:-1]] == ["token"] * (len(frames) - 1) and len(frames) > 5
    assert all(list(f) == ["type", "id", "content"] for f in frames[:-1])
    done = frames[-1]
    assert list(done)[:6] == FRAME_KEYS and {f["id"] for f in frames} == {"legs"}
    assert (done["backend"], done["route"]) == ("llamacpp", "llamacpp")
    text = text_of(frames)
    assert text.isprintable() and len(text.split()) > 3 and "<|" not in text, text
    assert "leg" in text


def test_an_answer_that_the_model_ends_says_end(talk):
    """Spec 08 §3.4: an end-of-generation token, which is neither counted nor shown."""
    done = talk.send(greedy("How many legs does a dog have?", max_tokens=200)).answer()[-1]
    assert done["stop_reason"] == "end" and 0 < done["usage"]["completion_tokens"] < 200
    assert "<|" not in done["content"]


def test_usage_counts_prompt_and_completion_tokens(talk):
    """Spec 08 §3.4, README 3: published keys first, the additive one last."""
    done = talk.send(greedy(COUNT, max_tokens=17)).answer()[-1]
    assert list(done["usage"]) == ["prompt_tokens", "completion_tokens", "cached_prompt_tokens"]
    assert done["usage"]["completion_tokens"] == 17
    assert 10 < done["usage"]["prompt_tokens"] < 100


def test_stream_false_gives_one_frame_with_the_text_of_the_stream(talk):
    """README 1."""
    text = text_of(talk.send(greedy(COUNT)).answer())
    frames = talk.send(greedy(COUNT, stream=False)).answer()
    assert [f["type"] for f in frames] == ["done"] and frames[0]["content"] == text


def test_the_model_answers_over_tcp(start_llama):
    """D63: token frames, then done with `llamacpp`."""
    frames = start_llama(tcp="127.0.0.1").connect().send(greedy(COUNT, max_tokens=8)).answer()
    assert text_of(frames) and frames[-1]["backend"] == "llamacpp" and frames[0]["type"] == "token"


def test_empty_messages_are_refused_and_the_connection_stays(talk):
    """E15."""
    assert_error(talk.ask(messages=[])[0], "invalid_request", says="messages")
    assert text_of(talk.send(greedy(COUNT, max_tokens=2)).answer())


def test_a_system_message_takes_the_place_of_the_templates_own(talk, default_model):
    """README 8: the template of the model file; its default system text, given by the caller, is the same prompt."""
    implied = conversation(talk, user("Hello."))["usage"]
    given = conversation(talk, system(DEFAULT_SYSTEM), user("Hello."))["usage"]
    assert given["prompt_tokens"] == implied["prompt_tokens"]
    assert given["cached_prompt_tokens"] == implied["prompt_tokens"] - 1


def test_a_system_message_changes_the_answer(talk):
    """Spec 01 §3: the role is rendered, not dropped."""
    texts = {text_of(talk.send(greedy("", messages=[system(who), user("Who are you?")])).answer())
             for who in ("You are a cat named Tom.", "You are a farmer named Anna.")}
    assert len(texts) == 2


def test_history_is_part_of_the_prompt(talk):
    """Spec 01 §3: an assistant's earlier turn counts, and in its place."""
    alone = prompt_tokens(talk, user("And now?"))
    history = prompt_tokens(talk, user("Say one word."), assistant("Lighthouse."), user("And now?"))
    other_order = conversation(talk, user("Say one word."), user("And now?"), assistant("Lighthouse."))["usage"]
    assert history > alone + 6
    assert other_order["cached_prompt_tokens"] < history - 1


@pytest.mark.parametrize("messages", [
    [user("")], [system("")], [assistant("")], [user(""), assistant(""), user("")], [system("Be brief.")],
    [assistant("I begin.")], [user("a"), user("b"), user("c")], [user("a"), assistant("b")], [assistant("a"), system("b"), user("c")],
    [user("x")] * 40], ids=lambda messages: "-".join(m["role"] for m in messages)[:40])
def test_any_order_of_roles_is_answered(talk, messages):
    """Spec 01 §3: no order is demanded; what a template cannot render is the caller's fault, and the next request is served."""
    frames = talk.send(greedy("", messages=messages, max_tokens=2)).answer()
    if frames[-1]["type"] == "error":
        assert_error(frames[-1], "invalid_request")
    assert text_of(talk.send(greedy(COUNT, max_tokens=2)).answer())


@pytest.mark.parametrize("text", ["a\0b", "\0" * 50, "{{ 7 * 7 }}{% for x in messages %}{{ x }}", "\u200f\u202e\ufeff", "é\r\n\t\x7f", "😀" * 20,
                                  "  both ends  ", "\\n\\u0041", "'\"`", "inferdmark0Z"], ids=ascii)
def test_any_text_is_taken_whole(talk, text):
    """P1, README 5: what stands after an odd character counts too."""
    short, longer = prompt_tokens(talk, user(text)), prompt_tokens(talk, user(text + " lighthouse" * 10))
    assert short + 10 <= longer <= short + 12
    assert short > prompt_tokens(talk, user(""))


def test_white_space_at_both_ends_of_a_message_is_kept(talk):
    """README 5: nothing is cut."""
    assert prompt_tokens(talk, user("\n\n hello \n\n")) > prompt_tokens(talk, user("hello"))


@pytest.mark.parametrize("grammar, first, last, count", WIDE.values(), ids=WIDE)
def test_a_character_of_several_bytes_is_never_split_between_frames(talk, grammar, first, last, count):
    """Issue 3: each line is valid UTF-8, no replacement character, and no character is lost."""
    talk.send(request("Draw the weather.", grammar=grammar, max_tokens=200))
    frames = []
    while not frames or frames[-1]["type"] == "token":
        frames.append(json.loads(talk.line().decode("utf-8", "strict")))
    text = text_of(frames)
    assert len(text) == count and all(first <= character <= last for character in text), text
    assert frames[-1]["stop_reason"] == "end"


@pytest.mark.parametrize("max_tokens", range(1, 8))
def test_an_answer_that_is_cut_within_a_character_is_still_valid_utf_8(talk, max_tokens):
    """Issue 3, spec 08 §3.4: what cannot be finished is left out or replaced, once, at the end; all before it is whole."""
    frames = talk.send(request("Draw.", grammar="root ::= [☀-⛿]{20}", max_tokens=max_tokens)).answer()
    whole = text_of(frames).removesuffix("\ufffd")
    assert all("☀" <= character <= "⛿" for character in whole), frames[-1]
    assert frames[-1]["usage"]["completion_tokens"] == max_tokens
    assert frames[-1]["stop_reason"] == "length"


def test_text_outside_ascii_in_a_prompt_is_understood_as_written(talk):
    """README 5: the same text as an escape and as raw UTF-8 is the same prompt."""
    raw = prompt_tokens(talk, user("日本語 ☀ 😀 é"))
    talk.send(json.dumps(request("日本語 ☀ 😀 é", max_tokens=0), ensure_ascii=True).encode() + b"\n")
    usage = talk.answer()[-1]["usage"]
    assert (usage["prompt_tokens"], usage["cached_prompt_tokens"]) == (raw, raw - 1)


def test_requests_written_at_once_on_one_connection_are_answered_in_order(talk):
    """Spec 01 §5.1."""
    talk.send(*(greedy(COUNT, id=str(n), max_tokens=3) for n in range(4)))
    assert [talk.answer()[-1]["id"] for _ in range(4)] == list("0123")


def test_a_client_that_half_closes_gets_its_whole_answer(llama):
    """README 11."""
    conn = llama.connect().send(greedy(COUNT)).half_close()
    assert text_of(conn.answer()) and conn.ends()


def test_token_frames_come_while_the_answer_is_being_made(llama):
    """Spec 01 §6: streaming; an answer without an end shows its first frames."""
    conn = running(llama, endless("stream"))
    assert [f["type"] for f in itertools.islice(iter(conn.frame, None), 10)] == ["token"] * 10
    conn.close()
