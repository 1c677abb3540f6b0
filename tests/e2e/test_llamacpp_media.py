"""Images and sounds (spec 02 §2.3 and §4.1, issue 4 point 3) through the real libmtmd, with tiny projectors (tiny_media_models.py).

What a model answers that sees an image or hears a sound is computed in numpy: a wrong row, place or mask is another answer. Only what the
oracle is certain of is compared. A token is a byte, a square of pixels or a piece of a sound: prompts are counted exactly.
"""
from __future__ import annotations

import base64
import json
import os
from random import Random

import pytest

from daemon_process import Daemon, Place
from llama_fixtures import ENGINE, engine_pid, llama_options
from store_place import NOWHERE, Store, sha256
from tiny_media_models import (
    AUDIO_BEGIN, AUDIO_END, IMAGE_BEGIN, IMAGE_END, KINDS, RATE, SQUARE,
    SeeingModel, TinyProjector, image, sound)
from tiny_models import CERTAIN
from wire import Conn, assert_error

LIMIT = 512  # tokens of an image whose tokens see each other: llama.cpp's batch
HEAD, TAIL = b"?user\n", b"?\n?assistant\n"  # the tokens around a user's turn; a control token is one, as a byte is


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def text(text: str) -> dict:
    return {"type": "text", "text": text}


def seen(id: str) -> dict:
    return {"type": "image", "attachment_id": id}


def heard(id: str) -> dict:
    return {"type": "audio", "attachment_id": id}


def asked(*blocks: dict, attachments: tuple | list = (), id: str = "r", **fields) -> dict:
    messages = [{"role": "user", "content": list(blocks)}]
    return {"id": id, "messages": messages, "attachments": list(attachments), "temperature": 0, "max_tokens": 8} | fields


def told(frames: list[dict]) -> tuple[str, dict]:
    """The text of an answer that came whole, and its `done`."""
    assert frames[-1]["type"] == "done", frames[-1]
    assert all(f["type"] == "frame" and f["block"]["type"] == "text" for f in frames[:-1]), frames
    return "".join(f["block"]["delta"] for f in frames[:-1]), frames[-1]


def usage(conn: Conn, *blocks: dict, **fields) -> dict:
    return told(conn.send(asked(*blocks, **fields)).answer())[1]["usage"]


def count(*parts) -> int:
    """Tokens of a prompt with one user turn: of texts, and of rows that stand for a medium."""
    return len(HEAD) + sum(len(part) for part in parts) + len(TAIL)


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict:
    """The model and the projectors; `files["model"]` is the oracle too."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")
    folder = tmp_path_factory.mktemp("tiny-media-models")
    return {"model": SeeingModel().write(folder)} | {kind: TinyProjector(kind).write(folder) for kind in KINDS}


def options(files: dict, kind: str, place: Place) -> tuple[str, ...]:
    model, projector = files["model"], files[kind]
    return (*llama_options(model=model.path, sha256=model.sha256), "--mmproj-path", str(projector.path), "--mmproj-sha256", projector.sha256,
            "--v2", "--v2-addr", str(place.base / "v2.sock"))


class Served:
    """A daemon with a projector, whose engine must not die."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.engine = daemon, engine_pid(daemon)

    def connect(self) -> Conn:
        return self.daemon.track(Conn(self.daemon.place.base / "v2.sock"))

    def is_alive(self) -> None:
        assert engine_pid(self.daemon) == self.engine, self.daemon.output


@pytest.fixture(scope="module")
def kinds(files):
    """Daemons with one projector each, for all tests that leave nothing behind: kinds("both")."""
    running: dict[str, Served] = {}

    def get(kind: str) -> Served:
        if kind not in running:
            place = Place()
            daemon = Daemon(place, *options(files, kind, place))
            try:
                daemon.wait_ready()
                running[kind] = Served(daemon)
            except BaseException:
                daemon.kill()
                place.remove()
                raise
        return running[kind]

    try:
        yield get
        for served in running.values():
            served.is_alive()
            served.daemon.stop()
    finally:
        for served in running.values():
            if served.daemon.code is None and served.daemon.process.poll() is None:
                served.daemon.kill()
            served.daemon.place.remove()


@pytest.fixture
def serve(start, files, place):
    def go(kind: str, *args: str) -> Served:
        return Served(start(*options(files, kind, place), *args))
    return go


@pytest.fixture
def both(kinds) -> Conn:
    return kinds("both").connect()


# what it sees and hears

def parts_of(files: dict, *parts) -> tuple[list, list[dict], list[dict]]:
    """Of texts, (image, pixels) and (sound, samples): the oracle's parts, the blocks, the attachments."""
    rows, blocks, attachments = [], [], []
    for part in parts:
        if isinstance(part, str):
            rows.append(part.encode())
            blocks.append(text(part))
            continue
        attachment, data = part
        if attachment["kind"] == "image":
            rows += [IMAGE_BEGIN, (files["both"].rows_of_image(data), True), IMAGE_END]
            blocks.append(seen(attachment["id"]))
        else:
            rows += [AUDIO_BEGIN, (files["both"].rows_of_audio(data), False), AUDIO_END]
            blocks.append(heard(attachment["id"]))
        if attachment not in attachments:
            attachments.append(attachment)
    return rows, blocks, attachments


def prompts(seed: int) -> list:
    """Prompts of different forms, each with media of its own."""
    picture, small = image("i", 80 + SQUARE * (seed % 4), 64, seed), image("j", 96, 88, seed + 1000)
    noise, long = sound("s", 4000 + 1777 * seed, seed), sound("t", 9 * RATE + seed, seed)
    forms = [["What is ", picture, " this?"], ["Hear ", noise, "!"], [picture, "first"], ["one ", picture, " two ", small, " three ", picture, "."],
             [noise, " and ", picture, " go"], ["long ", long, " sound"]]
    return forms[seed % len(forms)]


@pytest.fixture(scope="module")
def certain(files) -> list:
    """Prompts of every form, with the answers that the oracle is certain of."""
    found = []
    for seed in range(40):
        rows, blocks, attachments = parts_of(files, *prompts(seed))
        answer = files["model"].answer_to(rows, 8)
        if answer.margin > CERTAIN["full"]:
            tokens = count(*(part if isinstance(part, bytes) else part[0] for part in rows))
            found.append((blocks, attachments, answer, tokens))
    assert len(found) >= 20
    return found


def test_answers_are_those_of_a_model_that_sees_and_hears(both, certain):
    """Rows, their places, who sees whom; `input_tokens` are those of the texts and the media (spec 08 §3.6)."""
    for blocks, attachments, answer, tokens in certain:
        said, done = told(both.send(asked(*blocks, attachments=attachments)).answer())
        assert (said, done["stop_reason"]) == (answer.text, answer.stop_reason)
        assert done["usage"]["input_tokens"] == tokens and done["usage"]["output_tokens"] == answer.tokens


def test_many_at_once_get_their_own_answers(kinds, certain):
    """A span is computed alone, between the steps of the others."""
    served = kinds("both")
    for _ in range(2):  # the second time they reuse each other's
        conns = [served.connect().send(asked(*blocks, attachments=attachments)) for blocks, attachments, _, _ in certain[:8]]
        for conn, (_, _, answer, _) in zip(conns, certain):
            assert told(conn.answer())[0] == answer.text
            conn.close()


def test_a_required_sandbox_serves_media(serve, certain):
    """Architecture §4: the projector is read without a way to any other file."""
    served = serve("both", "--sandbox", "required")
    blocks, attachments, answer, _ = certain[0]
    assert told(served.connect().send(asked(*blocks, attachments=attachments)).answer())[0] == answer.text
    served.is_alive()


@pytest.mark.parametrize("kind, tokens", [("llava", 49), ("whisper", 25)])
def test_transformers_and_spectrograms(kinds, kind, tokens):
    """Attention that looks back only; a preprocessor with threads of its own. Equal media have equal answers."""
    conn = kinds(kind).connect()
    make, block = (image, seen) if kind == "llava" else (sound, heard)
    answers = []
    for seed in (1, 2, 3, 1):
        said, done = told(conn.send(asked(text("What is "), block("m"), text("?"), attachments=[make("m", seed=seed)[0]], max_tokens=24)).answer())
        assert done["usage"]["input_tokens"] == count(b"What is ", range(tokens), b"?")
        answers.append(said)
    assert answers[0] == answers[3]
    assert kind == "whisper" or len(set(answers)) > 1  # the small model makes the same of these sounds


@pytest.mark.parametrize("kind, vision, audio", [("vision", True, False), ("audio", False, True), ("both", True, True)])
def test_capabilities_are_those_of_the_projector(kinds, kind, vision, audio):
    """Spec 08 §3.1, issue 4 point 5."""
    [event] = [e for e in kinds(kind).daemon.start_events if e["status"] == "capabilities"]
    assert (event["v2"], event["vision"], event["audio"]) == (True, vision, audio)


def test_text_alone_is_served_as_ever(both, files):
    answer = files["model"].answer_to([b"Only text here."], 8)
    said, done = told(both.send(asked(text("Only text here."))).answer())
    assert done["usage"]["input_tokens"] == count(b"Only text here.")
    assert answer.margin <= CERTAIN["full"] or said == answer.text


# reuse

def test_the_same_image_again_is_reused_and_the_answer_is_the_same(kinds):
    """Media take part in the prefix cache by their content: all but the last token."""
    conn = kinds("both").connect()
    blocks = [text("A question of reuse: "), seen("a"), text(" what is it?")]
    first, cold = told(conn.send(asked(*blocks, attachments=[image("a", seed=101)[0]])).answer())
    blocks[1] = seen("another id")
    again, warm = told(conn.send(asked(*blocks, attachments=[image("another id", seed=101)[0]])).answer())
    assert cold["usage"]["cached_input_tokens"] < len(HEAD + b"A question of reuse: ")
    assert warm["usage"]["cached_input_tokens"] == warm["usage"]["input_tokens"] - 1
    assert again == first


def test_the_same_image_with_another_question_is_reused_to_its_end(both):
    """The cost of an image is paid once."""
    before, after = b"The picture is first: ", b" then a question, number one"
    attachment, pixels = image("a", 96, 72, seed=102)
    usage(both, text(before.decode()), seen("a"), text(after.decode()), attachments=[attachment])
    again = usage(both, text(before.decode()), seen("a"), text(" another"), attachments=[attachment])
    squares = pixels.shape[0] * pixels.shape[1] // SQUARE**2
    assert again["cached_input_tokens"] == len(HEAD + before + IMAGE_BEGIN + IMAGE_END + b" ") + squares


@pytest.mark.parametrize("other", [image("a", seed=104)[0], image("a", 64, 80, seed=103)[0] | {"bytes": image("a", seed=103)[0]["bytes"]}],
                         ids=["other pixels", "the same bytes in other rows"])
def test_another_image_is_not_reused(both, other):
    """Not a token of it."""
    blocks = [text(f"Which one, {json.dumps(other['width'])}? "), seen("a")]
    usage(both, *blocks, attachments=[image("a", seed=103)[0]])
    again = usage(both, *blocks, attachments=[other])
    assert again["cached_input_tokens"] == len(HEAD + blocks[0]["text"].encode() + IMAGE_BEGIN)


def test_sounds_are_reused_too(both):
    blocks = [text("What was that? "), heard("a"), text("!")]
    cold, warm, other = (usage(both, *blocks, attachments=[sound("a", seed=seed)[0]]) for seed in (105, 105, 106))
    assert cold["cached_input_tokens"] < len(HEAD + b"What was that? ")
    assert warm["cached_input_tokens"] == warm["input_tokens"] - 1
    assert other["cached_input_tokens"] == len(HEAD + b"What was that? " + AUDIO_BEGIN)


def test_a_conversation_about_an_image_reuses_its_history(both):
    """The client sends the image with every turn; it is computed with the first."""
    attachment, _ = image("a", seed=107)
    first = [{"role": "user", "content": [text("Look at this: "), seen("a")]}]
    said, done = told(both.send(asked(attachments=[attachment], messages=first)).answer())
    more = [*first, {"role": "assistant", "content": [text(said or "Nice.")]}, {"role": "user", "content": [text("Why?")]}]
    again = told(both.send(asked(attachments=[attachment], messages=more)).answer())[1]
    assert again["usage"]["cached_input_tokens"] >= done["usage"]["input_tokens"]


def test_an_image_that_is_named_twice_stands_twice(both):
    attachment, _ = image("a", seed=108)
    once = usage(both, seen("a"), attachments=[attachment])["input_tokens"]
    assert usage(both, seen("a"), text(" "), seen("a"), attachments=[attachment])["input_tokens"] == 2 * once + 1 - len(HEAD + TAIL)


# what is refused

GOOD_IMAGE, GOOD_SOUND = image("it", seed=1)[0], sound("it", seed=1)[0]
NAN, INFINITY, LOUD = (bytes.fromhex(h) for h in ("0000c07f", "0000807f", "ffff7f7f"))


@pytest.mark.parametrize("attachment, says", [
    (GOOD_IMAGE | {"bytes": "A!=="}, 'attachment: attachment base64 decode failed for "it"'),
    (GOOD_IMAGE | {"bytes": GOOD_IMAGE["bytes"][:-1]}, 'attachment: attachment base64 decode failed for "it"'),
    (GOOD_IMAGE | {"bytes": b64(bytes(15359))}, 'image "it": 15359 bytes, expected width*height*3 = 15360'),
    (GOOD_IMAGE | {"width": 79}, 'image "it": 15360 bytes, expected width*height*3 = 15168'),
    (GOOD_IMAGE | {"bytes": ""}, 'image "it": 0 bytes, expected width*height*3 = 15360'),
    (GOOD_IMAGE | {"width": 0, "bytes": ""}, 'image "it": 0 x 64 pixels'),
    (GOOD_IMAGE | {"width": 2**32 - 1, "height": 2**32 - 1}, 'image "it": 4294967295 x 4294967295 pixels'),
    (GOOD_IMAGE | {"width": 1, "height": 201, "bytes": b64(bytes(603))}, 'image "it": 1 x 201 pixels: one side is more than 200 times'),
    (GOOD_SOUND | {"bytes": "A"}, 'attachment: attachment base64 decode failed for "it"'),
    (GOOD_SOUND | {"bytes": b64(bytes(6))}, 'audio attachment "it": byte length not a multiple of 4'),
    (GOOD_SOUND | {"bytes": ""}, 'audio "it": it has no samples'),
    (GOOD_SOUND | {"sample_rate": 44100}, 'audio "it": its sample_rate is 44100 Hz, the model takes 16000 Hz'),
    (GOOD_SOUND | {"sample_rate": 0}, 'audio "it": its sample_rate is 0 Hz, the model takes 16000 Hz'),
    (GOOD_SOUND | {"bytes": b64(bytes(4) + NAN)}, 'audio "it": sample 1 is not a finite number'),
    (GOOD_SOUND | {"bytes": b64(INFINITY)}, 'audio "it": sample 0 is not a finite number'),
    (GOOD_SOUND | {"bytes": b64(bytes(8) + LOUD)}, 'audio "it": sample 2 is far beyond'),
])
def test_wrong_sizes_rates_and_samples_are_refused_by_name(both, attachment, says):
    """Spec 02 §4.1; a rate with both numbers (issue 4 point 3). The connection stays."""
    block = seen("it") if attachment["kind"] == "image" else heard("it")
    assert_error(both.send(asked(text("?"), block, attachments=[attachment])).answer()[-1], "invalid_request", says=says)
    assert usage(both, text("still here"))["output_tokens"] > 0


@pytest.mark.parametrize("kind, block, attachment, says", [
    ("audio", seen("it"), GOOD_IMAGE, 'image "it": this model takes no images'),
    ("vision", heard("it"), GOOD_SOUND, 'audio "it": this model takes no audio'),
    ("both", {"type": "video", "attachment_id": "it"}, {"kind": "video", "id": "it", "bytes": "AAAA"}, 'video attachment "it" not supported by the llamacpp adapter'),
])
def test_what_the_projector_does_not_take_is_attachment_unsupported(kinds, kind, block, attachment, says):
    """Issue 4 point 3; spec 02 §8.2: the code that is there for it."""
    conn = kinds(kind).connect()
    assert_error(conn.send(asked(block, attachments=[attachment])).answer()[-1], "attachment_unsupported", says=says)


def test_without_a_projector_media_are_attachment_unsupported(start, files, place):
    model = files["model"]
    daemon = start(*llama_options(model=model.path, sha256=model.sha256), "--v2", "--v2-addr", str(place.base / "v2.sock"))
    conn = Served(daemon).connect()
    assert_error(conn.send(asked(seen("it"), attachments=[GOOD_IMAGE])).answer()[-1], "attachment_unsupported", says='"it"')
    assert usage(conn, text("text"))["output_tokens"] > 0


def test_an_attachment_that_nothing_names_is_not_looked_at(both):
    """Spec 02 §4.1, last line."""
    assert usage(both, text("alone"), attachments=[GOOD_IMAGE | {"bytes": "!"}])["output_tokens"] > 0


@pytest.mark.parametrize("samples", [1, 2, 1599, 1600, 1601])
@pytest.mark.parametrize("kind", ["audio", "whisper"])
def test_the_shortest_sounds_are_heard(kinds, kind, samples):
    """libmtmd asserts that a sound has two samples, and some preprocessors that it has frames."""
    served = kinds(kind)
    assert usage(served.connect(), heard("s"), attachments=[sound("s", samples)[0]])["input_tokens"] > len(HEAD + TAIL)
    served.is_alive()


@pytest.mark.parametrize("width, height", [(1, 1), (1, 200), (200, 1), (3, 500), (1500, 1200)])
@pytest.mark.parametrize("kind", ["vision", "llava"])
def test_images_of_every_shape_are_seen(kinds, kind, width, height):
    """An image whose tokens see each other is made to fit a batch."""
    served = kinds(kind)
    tokens = usage(served.connect(), seen("i"), attachments=[image("i", width, height)[0]])["input_tokens"] - len(HEAD + TAIL)
    assert 0 < tokens <= LIMIT + len(IMAGE_BEGIN + IMAGE_END)
    served.is_alive()


def test_a_prompt_with_media_that_is_longer_than_the_context_is_refused_with_both_numbers(both):
    """Two minutes in four pieces: 3,000 tokens and more in a context of 2,048."""
    frames = both.send(asked(*[heard("s")] * 4, attachments=[sound("s", 30 * RATE)[0]])).answer()
    assert_error(frames[-1], "invalid_request", says="2048")


def test_who_hangs_up_while_its_media_are_prepared_or_computed_leaves_nothing(kinds):
    served = kinds("both")
    for seed in range(8):
        conn = served.connect().send(asked(seen("i"), heard("s"), attachments=[image("i", 400, 400, seed)[0], sound("s", 20 * RATE, seed)[0]]))
        conn.reset()
    assert usage(served.connect(), text("still here"))["output_tokens"] > 0
    served.is_alive()


# hostile fields

NUMBERS = (0, 1, 2, 3, 7, 80, 200, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, -1, 1.5, 1e30, "80", None, [], True)
WRONG = (None, 1, [], {}, True)


def broken(random: Random) -> dict:
    """A valid attachment with one or two fields changed."""
    kind = random.choice(("image", "audio"))
    attachment = dict(GOOD_IMAGE if kind == "image" else GOOD_SOUND)
    for field in random.sample([name for name in attachment if name != "id"], random.choice((1, 1, 2))):
        if field == "kind":
            attachment[field] = random.choice(("image", "audio", "video", "picture", "", *WRONG))
        elif field == "bytes":
            data = bytearray(attachment["bytes"].encode())
            way = random.randrange(8)
            if way == 0:
                del data[random.randrange(len(data)):]
            elif way == 1:
                data[random.randrange(len(data))] = random.randrange(32, 127)
            elif way == 2:
                data += random.choice((b"=", b"==", b"===", b"AAAA", b"\n", b" "))
            elif way == 3:
                data = bytearray(b64(random.randbytes(random.choice((1, 3, 4, 64, 15360)))).encode())
            elif way == 4:
                data[0:4] = b"===="
            elif way == 5:
                data = bytearray("é€😀".encode())
            attachment[field] = random.choice(WRONG) if way == 6 else data.decode(errors="replace")
        else:
            attachment[field] = random.choice(NUMBERS)
        if random.random() < 0.1:
            del attachment[field]
    return attachment


def test_fuzzed_attachments_are_answered_or_refused_by_name_and_the_engine_lives(kinds):
    """Issue 4: an error by name, no crash. Cases are the same in every run."""
    served = kinds("both")
    refused = 0
    for case in range(200):
        random = Random(case)
        attachment = broken(random)
        conn = served.connect()
        last = conn.send(asked(text("?"), seen("it") if random.random() < 0.5 else heard("it"), attachments=[attachment])).answer()[-1]
        if last["type"] == "error":
            refused += 1
            assert last["code"] in ("invalid_request", "attachment_unsupported"), (case, attachment, last)
            assert any(name in last["message"] for name in ('"it"', "attachments", "expected")), (case, attachment, last)
        conn.close()
    assert 100 < refused < 200  # some changes are harmless
    assert usage(served.connect(), text("still here"), seen("it"), text("?"), attachments=[GOOD_IMAGE])["output_tokens"] > 0
    served.is_alive()


# the operator's side

@pytest.mark.parametrize("break_it, says", [
    (lambda data: data[:-1000], "cut short"),
    (lambda data: b"no projector" * 100, "no GGUF file"),
    (lambda data: data.replace(b"gemma4uv", b"gemma9uv"), "gemma9uv"),
], ids=["cut short", "no GGUF", "unknown kind"])
def test_a_projector_that_cannot_be_used_is_a_start_error_that_says_why(start, files, place, break_it, says):
    projector = TinyProjector("vision").write(place.base)
    projector.path.write_bytes(break_it(projector.path.read_bytes()))
    args = list(options(files, "vision", place))
    args[args.index("--mmproj-path") + 1] = str(projector.path)
    args[args.index("--mmproj-sha256") + 1] = sha256(projector.path.read_bytes())
    start.fails(*args, says=("projector", says))


def test_a_projector_of_another_model_is_a_start_error_with_both_widths(start, files, place):
    projector = TinyProjector("vision")
    projector.matrix("mm.input_projection.weight", 16, 48)
    projector.write(place.base)
    args = list(options(files, "vision", place))
    args[args.index("--mmproj-path") + 1] = str(projector.path)
    args[args.index("--mmproj-sha256") + 1] = projector.sha256
    start.fails(*args, says=("projector", "n_embd = 32", "n_embd = 48"))


def test_a_projector_with_another_digest_is_never_loaded(start, files, place):
    args = list(options(files, "vision", place))
    args[args.index("--mmproj-sha256") + 1] = "0" * 64
    start.fails(*args, says=files["vision"].path)


def test_the_entry_says_how_many_tokens_an_image_may_have(start, files, place):
    """`mmproj` and `mmproj_image_max_tokens` of the config file (issue 4 point 3)."""
    store = Store(place)
    sources = {}
    for field in ("model", "vision"):
        data = files[field].path.read_bytes()
        store.take(field, data)
        sources[field] = {"name": field, "sha256": files[field].sha256, "source_url": NOWHERE}
    entry = {"kind": "llamacpp", "name": "seeing", "model": sources["model"], "mmproj": sources["vision"]}
    big = image("i", 800, 800)[0]
    for most in (100, 200):
        path = store.configure(more=[entry | {"mmproj_image_max_tokens": most}])
        daemon = start("--config", str(path), "--v2", "--v2-addr", str(place.base / "v2.sock"))
        tokens = usage(Served(daemon).connect(), seen("i"), attachments=[big])["input_tokens"] - len(HEAD + IMAGE_BEGIN + IMAGE_END + TAIL)
        assert most * 0.7 < tokens <= most
        daemon.stop()
