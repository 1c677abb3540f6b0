"""Embeddings of a real embedding model (all-MiniLM-L6-v2: spec 03, 08 §3.8, promise 11; spec 10's 768 is its 384) and of models that also write:
values, order, limits, and that nobody waits for somebody else longer than a batch."""
from __future__ import annotations

import copy
import json
import os
import random
import signal

import numpy as np
import pytest

from embed_fixtures import (  # noqa: F401
    LONGEST, NAME, WIDTH, check_embeddings, config_options, conn, cosines, dial_embed, embed_model, embedded, embedder, entry, frame_of,
    start_embed, vectors, wheel)
from llama_fixtures import MODEL, computing, endless, engine_pid, greedy, is_silent, need_model, running, tell, text_of, words  # noqa: F401
from minilm_reference import Reference
from tiny_models import KINDS, LAYERS, N_CTX_TRAIN, WIDTH as TINY_WIDTH, TinyModel
from wire import assert_error, request

SAME = 0.99999  # cosine of one text's vectors from two batches: only the order of the sums differs
HUGE = [f"{n} " + words(300) for n in range(3000)]  # minutes of work
PREFIXES = {
    "retrieval_query": "task: search result | query: ",
    "retrieval_document": "title: none | text: ",
    "similarity": "task: sentence similarity | query: ",
    "classification": "task: classification | query: ",
    "clustering": "task: clustering | query: ",
    "question_answering": "task: question answering | query: ",
    "fact_verification": "task: fact checking | query: ",
    "code_retrieval_query": "task: code retrieval | query: ",
}
ODD_TEXTS = [
    "Überraschung! Café naïve résumé, ÅNGSTRÖM", "日本語のテキスト and 中文字", "snowman ☃ and 😀 emoji", "C++: std::vector<int> v{1, 2}; // don't",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis", "  spaces\tand\nlines  ", "1,234.56 € (≈ $1,400)",
    "[CLS] [SEP] [MASK] ##ing", "“quotes” — dashes … and ’s", "Привет, мир! Γειά σου Κόσμε", "x", "?", "a.b.c/d\\e_f", "ﬁ ligature ½ ²",
]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(wheel())


def texts_of_many_kinds(count: int) -> list[str]:
    """Odd ones, then texts of 1 to some 150 words."""
    drawn = random.Random(7)
    vocabulary = (words(20) + " model river token winter question answer seventeen photograph Berlin unbelievable quickly 42 3.14").split()
    made = [*ODD_TEXTS]
    while len(made) < count:
        length = round(150 ** drawn.random())
        made.append(" ".join(drawn.choices(vocabulary, k=length)) + drawn.choice([".", "?", "", "!"]))
    return made[:count]


# ---------------------------------------------------------------- values


def test_the_reference_is_right(reference):
    """What the reference below is worth: the similarity that the model's authors publish for these two sentences."""
    eating = [reference.embed(text) for text in ("A man is eating food.", "A man is eating a piece of bread.")]
    assert round(float(eating[0] @ eating[1]), 4) == 0.7553


def test_200_texts_have_the_vectors_of_the_reference(conn, reference):
    """Issue 4: cosine >= 0.999; and the same tokens, also of odd texts."""
    texts = texts_of_many_kinds(200)
    answer = embedded(conn, texts)
    expected = np.array([reference.embed(text) for text in texts])
    assert cosines(answer["embeddings"], expected).min() >= 0.999
    assert answer["usage"]["input_tokens"] == sum(len(reference.tokens(text)) for text in texts)


def test_one_text_has_one_vector_of_the_models_width(conn):
    """E19: length 1, the model's name, tokens with the special ones; keys in their order, additive ones last (spec 03 §5)."""
    frame = conn.send(frame_of(["hello"], id="one")).frame()
    assert list(frame) == ["type", "id", "embeddings", "dimensions", "model", "usage", "backend", "route"]
    assert (frame["id"], frame["dimensions"], frame["model"], frame["backend"]) == ("one", WIDTH, NAME, "llamacpp")
    assert frame["usage"] == {"input_tokens": 3}
    check_embeddings(frame, 1)


def test_the_capability_is_announced(embedder):
    """E18, spec 04 §3: it makes embeddings and nothing else."""
    [capabilities] = [event for event in embedder.start_events if event["status"] == "capabilities"]
    assert capabilities["embed"] is True and not any(capabilities[other] for other in ("v2", "vision", "audio", "tools", "thinking"))


def test_three_texts_have_three_vectors_in_their_order(conn):
    """E20."""
    texts = ["The cat sleeps on the warm window sill.", "Interest rates rose again in March.", "Install the package with apt-get."]
    together = vectors(conn, *texts)
    alone = np.concatenate([vectors(conn, text) for text in texts])
    assert cosines(together, alone).min() > SAME
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs(together[a] @ together[b]) < 0.999


def test_many_texts_of_all_lengths_come_back_in_order(conn):
    """Promise 11: packed as it suits the engine, answered as they were sent."""
    drawn = random.Random(3)
    texts = [f"{n} " + words(drawn.choice([1, 2, 5, 20, 100, 480])) for n in range(120)] + [f"text {n}" for n in range(400)]
    drawn.shuffle(texts)
    together = vectors(conn, *texts)
    for place in drawn.sample(range(len(texts)), 40):
        assert cosines(together[place], vectors(conn, texts[place])[0]) > SAME, place


def test_the_same_text_twice_has_the_same_vector_twice(conn):
    a, b, _, c = vectors(conn, "again", "again", words(300), "again")
    assert min(cosines(a, b), cosines(a, c)) > SAME


@pytest.mark.parametrize("dimensions", [1, 8, 256, WIDTH])
def test_dimensions_are_the_first_ones_brought_to_length_1(conn, dimensions):
    """E21, spec 08 §3.8."""
    whole, cut = embedded(conn, ["hello"]), embedded(conn, ["hello"], dimensions=dimensions)
    assert cut["dimensions"] == dimensions
    assert cosines(cut["embeddings"], whole["embeddings"][:, :dimensions]) > SAME


@pytest.mark.parametrize("dimensions", [WIDTH + 1, 99999, 4294967295])
def test_more_dimensions_than_the_model_has_are_refused(conn, dimensions):
    """E22, spec 03 §4: before any work; the connection stays."""
    refused = conn.send(frame_of(["hello"], dimensions=dimensions)).frame()
    assert_error(refused, "invalid_request", "e", f"dimensions {dimensions} exceeds model n_embd {WIDTH}")
    vectors(conn, "hello")


@pytest.mark.parametrize("task", PREFIXES)
def test_a_task_puts_its_words_before_the_text(conn, task):
    """E23, E24, spec 08 §3.8."""
    text = "When was the lighthouse built?"
    with_task, by_hand = embedded(conn, [text], task=task), embedded(conn, [PREFIXES[task] + text])
    assert cosines(with_task["embeddings"], by_hand["embeddings"]) > SAME
    assert with_task["usage"] == by_hand["usage"]
    assert cosines(with_task["embeddings"], vectors(conn, text)) < 0.999


def test_spaces_alone_are_a_text(conn):
    """Spec 03 §3."""
    assert embedded(conn, ["   "])["usage"]["input_tokens"] == 2


# ---------------------------------------------------------------- limits


def test_a_text_that_fills_the_window_is_taken_and_one_token_more_is_refused(conn):
    """Promise 1: nothing is cut; both numbers and which text; the connection stays."""
    fits = words(LONGEST - 2)
    assert embedded(conn, [fits])["usage"]["input_tokens"] == LONGEST
    refused = conn.send(frame_of(["first", fits + " fox", "third"])).frame()
    assert_error(refused, "invalid_request", "e", "input[1]")
    assert str(LONGEST + 1) in refused["message"] and str(LONGEST) in refused["message"]
    vectors(conn, "hello")


def test_a_text_of_megabytes_is_refused_like_any_other(conn):
    """Promise 1: hostile lengths."""
    for text in ("fox " * 1_000_000, "x" * 4_000_000 + " y" * 600):
        assert_error(conn.send(frame_of([text])).frame(), "invalid_request", "e", "input[0]")
    vectors(conn, "hello")


def test_an_answer_that_no_frame_holds_is_refused_before_any_work(conn):
    """Issue 4: with both sizes."""
    refused = conn.send(frame_of(["x"] * 20_000)).frame()
    assert_error(refused, "invalid_request", "e", "MiB")
    assert embedded(conn, ["x"] * 2_000)["usage"]["input_tokens"] == 6_000


def test_text_to_write_is_refused_by_a_model_that_only_embeds(embedder):
    """Issue 4: a dedicated embedding model as its own entry."""
    assert_error(tell(embedder, request("hello"))[-1], "invalid_request", "r", "embeddings only")


def test_refused_texts_are_in_no_error_and_no_log(start_embed, place):
    """Promise 12."""
    daemon = start_embed(env={"INFERD_LOG": "trace"})
    marker = "xyzzy-marker-4711"
    talk = dial_embed(daemon)
    vectors(talk, marker, task="clustering")
    frame = talk.send(frame_of([marker + words(600)])).frame()
    assert_error(frame, "invalid_request", "e")
    daemon.stop()
    assert marker not in json.dumps(frame) + daemon.output
    for path in place.base.rglob("*"):
        assert not path.is_file() or marker.encode() not in path.read_bytes(), path


# ---------------------------------------------------------------- others


def test_requests_of_several_callers_are_each_answered(embedder):
    """README 9: they wait for the place and get their own vectors."""
    texts = {f"caller {n}": [f"caller {n}", words(50 * n + 1)] for n in range(4)}
    conns = {id: dial_embed(embedder).send(frame_of(each, id=id)) for id, each in texts.items()}
    for id, talk in conns.items():
        frame = talk.frame()
        assert frame["id"] == id
        found = check_embeddings(frame, 2)["embeddings"]
        assert cosines(found, vectors(talk, *texts[id])).min() > SAME
        talk.close()


def test_a_client_that_hangs_up_frees_the_place(start_embed):
    """README 11, spec 03: what is left of minutes of work is not done."""
    daemon = start_embed()
    gone = dial_embed(daemon).send(frame_of(HUGE, dimensions=4))
    computing(engine_pid(daemon))
    waiting = dial_embed(daemon).send(frame_of(["hello"], id="waiting"))
    gone.close()
    assert check_embeddings(waiting.frame(), 1)["id"] == "waiting"


def test_a_client_that_hangs_up_while_its_texts_are_read_or_wait_leaves_nothing(start_embed):
    """README 11: in whatever state."""
    daemon = start_embed("--queue-depth", "30")
    for n in range(20):
        dial_embed(daemon).send(frame_of(HUGE[: 10 ** (n % 4)], id=f"gone {n}")).close()
    vectors(dial_embed(daemon), "hello")


def test_beyond_the_place_and_the_waiting_places_queue_full_is_the_answer(start_embed):
    """README 9."""
    daemon = start_embed("--queue-depth", "0")
    first = dial_embed(daemon).send(frame_of(HUGE, dimensions=4))
    computing(engine_pid(daemon))
    over = dial_embed(daemon)
    assert_error(over.send(frame_of(["hello"])).frame(), "queue_full", "e", "queue full")
    first.close()


def test_an_engine_that_dies_is_an_error_and_the_next_one_answers(start_embed):
    """Architecture §4: an error frame, not just EOF; the connection stays."""
    daemon = start_embed()
    talk = dial_embed(daemon).send(frame_of(HUGE, dimensions=4))
    admin, pid = daemon.admin(), engine_pid(daemon)
    computing(pid)
    os.kill(pid, signal.SIGKILL)
    assert_error(talk.frame(), "backend_unavailable", "e")
    while admin.frame()["status"] != "ready":
        pass
    vectors(talk, "hello")


def test_at_the_limit_of_the_drain_a_request_is_told(start_embed):
    """README 12: `backend_unavailable`; exit 0."""
    daemon = start_embed("--drain-timeout-secs", "1")
    talk = dial_embed(daemon).send(frame_of(HUGE, dimensions=4))
    computing(engine_pid(daemon))
    daemon.signal()
    assert_error(talk.frame(), "backend_unavailable", "e", "draining")
    assert daemon.wait() == 0


# ---------------------------------------------------------------- one model for both


@pytest.fixture
def both(start_embed):
    """A daemon whose model writes and embeds."""
    need_model()
    return start_embed(model=MODEL)


def test_a_model_that_writes_also_embeds(both):
    """Issue 4: one model for both; its own width."""
    assert text_of(tell(both, greedy("Say hello.", max_tokens=4)))
    talk = dial_embed(both)
    near, same, far = vectors(talk, "The cat sleeps.", "The cat sleeps.", "def main(): return 0")
    assert len(near) == 576 and cosines(near, same) > SAME > cosines(near, far)
    assert text_of(tell(both, greedy("Say hello.", max_tokens=4)))


def test_embeddings_do_not_wait_for_a_long_generation(both):
    """Issue 4: they are answered while streams run that never end, and the streams go on."""
    streams = [running(both, endless(str(n), max_tokens=4000)) for n in range(3)]
    talk = dial_embed(both)
    for n in range(5):
        vectors(talk, f"text {n}", words(100))
    for stream in streams:
        assert stream.frame()["type"] == "token"


def test_a_stream_does_not_wait_for_many_embeddings(both):
    """Issue 4: it has its turn after each batch. Minutes of work are going on meanwhile."""
    talk = dial_embed(both).send(frame_of(HUGE, dimensions=4))
    computing(engine_pid(both))
    assert text_of(tell(both, greedy("Count from one to ten.", max_tokens=4)))
    stream = running(both, endless("stream"))
    for _ in range(3):
        assert stream.frame()["type"] == "token"
    assert is_silent(talk)
    talk.close()
    vectors(dial_embed(both), "hello")


# ---------------------------------------------------------------- entries of the config file


def test_a_chat_entry_and_an_embed_entry_serve_side_by_side(start, place):
    """Issue 4: a dedicated embedding model as its own entry; each request goes to the one that can."""
    need_model()
    daemon = start(*config_options(place, entry(place, "chat", MODEL, n_ctx=1024), entry(place, "vectors", embed_model(), embed=True)))
    stream = running(daemon, endless("stream", max_tokens=900))
    answer = embedded(dial_embed(daemon), ["hello", words(200)])
    assert (answer["dimensions"], answer["model"], answer["route"]) == (WIDTH, NAME, "vectors")
    assert stream.frame()["type"] == "token"
    assert tell(daemon, greedy("Say hello.", max_tokens=2))[-1]["route"] == "chat"


def test_the_pooling_is_the_one_that_is_configured(start, place, reference):
    """README 26: CLS instead of the file's mean."""
    talk = dial_embed(start(*config_options(place, entry(place, "cls", embed_model(), embed=True, embed_pooling=2))))
    texts = ["hello", "A man is eating food."]
    first_tokens = np.array([reference.states(text)[0] for text in texts])
    assert cosines(vectors(talk, *texts), first_tokens).min() >= 0.999


def test_the_window_is_the_one_that_is_configured(start, place):
    """Spec 05 §2: `embed_n_ctx`."""
    talk = dial_embed(start(*config_options(place, entry(place, "short", embed_model(), embed=True, embed_n_ctx=20))))
    vectors(talk, words(18))
    assert_error(talk.send(frame_of([words(19)])).frame(), "invalid_request", "e", "20")


@pytest.mark.parametrize("pooling", [0])
def test_a_pooling_that_gives_no_vector_of_a_text_is_a_start_error(start, place, pooling):
    """README 7 and 20: told by name, not at the first request."""
    start.fails(*config_options(place, entry(place, "none", embed_model(), embed=True, embed_pooling=pooling)), says=f"embed_pooling {pooling}")


# ---------------------------------------------------------------- models of every kind of memory


class TinyEmbedder:
    """What a tiny model that writes has to embed: the mean of its last layer's vectors, in numpy."""

    def __init__(self, model: TinyModel) -> None:
        self.path, self.network = model.path, copy.copy(model)
        self.network.tensors = {**model.tensors, "output.weight": np.eye(TINY_WIDTH, dtype=np.float32)}

    def embed(self, text: str) -> np.ndarray:
        memory = [None] * LAYERS
        return np.mean([self.network.forward([byte], position, memory) for position, byte in enumerate(text.encode())], axis=0)


@pytest.fixture(params=KINDS)
def tiny(request, tmp_path) -> TinyEmbedder:
    return TinyEmbedder(TinyModel(request.param).write(tmp_path))


def test_texts_of_any_length_are_embedded_right_by_every_kind_of_model(start_embed, tiny):
    """Architecture §4: what sees only what is before it is computed in slices of 512 tokens and pooled over them; nothing of a text is
    left in the memory when the next one comes."""
    talk = dial_embed(start_embed(model=tiny.path))
    drawn = random.Random(5)
    texts = ["".join(drawn.choices("abcdefghij klmnop.", k=length)) for length in (1, 2, 60, 511, 512, 513, 1100, N_CTX_TRAIN, 30, 7)]
    answer = embedded(talk, texts)
    assert answer["usage"]["input_tokens"] == sum(map(len, texts))
    expected = np.array([tiny.embed(text) for text in texts])
    assert cosines(answer["embeddings"], expected).min() > 0.999
    assert cosines(vectors(talk, *reversed(texts)), expected[::-1]).min() > 0.999
    assert_error(talk.send(frame_of(["x" * (N_CTX_TRAIN + 1)])).frame(), "invalid_request", "e", str(N_CTX_TRAIN))
    assert_error(talk.send(frame_of(["x" * 1_000_000])).frame(), "invalid_request", "e", "at least")
