"""The start with a model (spec 04 §2 and 4, spec 05 §8, README 15 to 17 and 21): events in order, failures by name, signals while loading."""
import hashlib
import itertools
import json
import os
import signal
from pathlib import Path

import pytest

from daemon_process import until
from llama_fixtures import (  # noqa: F401
    COUNT, MODEL, engine_pid, engines, greedy, llama, llama_options, model_sha256,
    need_model, start_llama, tell, text_of)

ORDER = ["starting", "checking_local", "verify", "mmap", "kv_cache", "capabilities", "ready"]


def name_of(event):
    return event.get("phase", event["status"])


def watched(daemon):
    """All admin events of a start up to the end of the connection or `ready`; None if admin could not be reached."""
    conn = until(lambda: daemon.dial_admin() or daemon.process.poll() is not None, "admin accepts")
    if conn is True:
        return None
    events = []
    daemon.track(conn)
    while (line := conn.line()) is not None:
        events.append(json.loads(line))
        if events[-1]["status"] == "ready":
            break
    return events


def fails(start, place, *options, says):
    """A start error: exit 1, stderr and admin's last event before EOF say each of `says`, and the place is left usable."""
    def watched_failure():
        daemon = start(*options, ready=False)
        events = watched(daemon)
        assert daemon.wait() == 1, daemon.output
        for word in says:
            assert str(word) in daemon.output, daemon.output
        assert not engines(daemon.pid)
        return events

    events = until(watched_failure, "an admin client gets in before the start fails")
    assert events[-1]["status"] == "error", events
    told = " ".join(str(value) for value in events[-1].values())
    for word in says:
        assert str(word) in told, events[-1]
    assert [p.name for p in place.runtime.iterdir()] == ["inferd.lock"]


@pytest.fixture
def copy(place):
    """Makes a file of the model's bytes after `change`, and the options that serve it with its own hash."""
    need_model()

    def make(change):
        content = change(bytearray(MODEL.read_bytes()))
        path = place.base / "model.gguf"
        path.write_bytes(content)
        return path, llama_options(model=path, sha256=hashlib.sha256(content).hexdigest())
    return make


def test_a_start_publishes_its_phases_in_order(llama):
    """Spec 04 §2 and 4: checking_local, verify, mmap, kv_cache, then capabilities and ready."""
    events = llama.start_events
    names = [name for name, _ in itertools.groupby(map(name_of, events))]
    assert sorted(names, key=ORDER.index) == names
    assert names[-5:] == ["verify", "mmap", "kv_cache", "capabilities", "ready"]
    for event in events:
        assert list(event) == sorted(event) and (event["id"], event["type"]) == ("admin", "status")
        if "phase" in event:
            assert event["status"] == "loading_model"


def test_phases_name_the_file_and_the_context(llama):
    """Spec 04 §2: `path` is the model path, `n_ctx` a number."""
    for event in llama.start_events:
        if name_of(event) in ("checking_local", "verify", "mmap"):
            assert event["path"] == str(MODEL)
        if name_of(event) == "kv_cache":
            assert event["n_ctx"] == 8192


def test_progress_of_the_hash_is_told(llama):
    """Spec 04 §6.5 put right: bytes so far and in all, up to the whole file."""
    events = [e for e in llama.start_events if name_of(e) == "verify"]
    done = [e["verified_bytes"] for e in events]
    assert {e["total_bytes"] for e in events} == {MODEL.stat().st_size}
    assert done == sorted(done) and done[-1] == MODEL.stat().st_size


def test_progress_of_loading_is_told(llama):
    """Spec 04 §6.5 put right: percent that rise."""
    progress = [e["progress"] for e in llama.start_events if name_of(e) == "mmap" and "progress" in e]
    assert progress == sorted(progress) and progress[-1] == 100


def test_capabilities_are_those_of_a_text_model_on_a_cpu(llama):
    """Spec 04 §3: without a projector, not embedding."""
    [event] = [e for e in llama.start_events if e["status"] == "capabilities"]
    assert event == {"accelerator": "cpu", "audio": False, "backend": "llamacpp", "embed": False, "gpu_layers": 0, "id": "admin",
                     "name": "llamacpp", "status": "capabilities", "thinking": False, "tools": True, "type": "status", "v2": True,
                     "vision": False}


def test_no_inference_socket_exists_before_ready_and_who_dials_on_ready_is_served(start_llama):
    """README 15: looked at while the daemon is stopped in the middle of its load."""
    daemon = start_llama(ready=False)
    conn = daemon.track(until(daemon.dial_admin, "admin accepts"))
    assert name_of(conn.frame()) in ("starting", "checking_local", "verify")
    os.kill(daemon.pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", "the daemon stands still")
    there = daemon.v1.exists()
    os.kill(daemon.pid, signal.SIGCONT)
    assert not there
    while conn.frame()["status"] != "ready":
        pass
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=2)))


def test_the_hash_may_be_given_in_either_case(start_llama, start):
    """Spec 05 §1."""
    need_model()
    assert text_of(tell(start(*llama_options(sha256=model_sha256().upper())), greedy(COUNT, max_tokens=2)))


def test_a_model_that_is_a_link_is_served(start, place):
    """Spec 05 §8: what counts is the file; stores are made of links."""
    need_model()
    (place.base / "link.gguf").symlink_to(MODEL)
    assert text_of(tell(start(*llama_options(model=place.base / "link.gguf")), greedy(COUNT, max_tokens=2)))


def test_a_missing_model_is_a_start_error(start, place):
    """Spec 05 §8, README 17."""
    need_model()
    missing = place.base / "missing.gguf"
    fails(start, place, *llama_options(model=missing), says=[missing, "No such file"])


def test_a_folder_as_model_is_a_start_error(start, place):
    """Spec 05 §8."""
    need_model()
    fails(start, place, *llama_options(model=place.home), says=[place.home])


def test_a_pipe_as_model_is_a_start_error(start, place):
    """Issue 3: nobody writes into it; opening it must not hang."""
    need_model()
    os.mkfifo(place.base / "pipe")
    fails(start, place, *llama_options(model=place.base / "pipe"), says=[place.base / "pipe"])


def test_a_wrong_hash_is_a_start_error_with_both_hashes(start, place):
    """E25, README 17: the real model under another hash is not loaded."""
    need_model()
    fails(start, place, *llama_options(sha256="0" * 64), says=[MODEL, "0" * 64, model_sha256()])


def test_a_hash_of_63_characters_is_a_start_error(start, place):
    """Spec 05 §8."""
    need_model()
    daemon = start(*llama_options(sha256=model_sha256()[:63]), ready=False)
    assert daemon.wait() in (1, 2)
    assert "--model-sha256" in daemon.output


@pytest.mark.parametrize("part", [0.999999, 0.5, 0.02, 0.001, 0.0000005])
def test_a_truncated_model_is_a_start_error(start, place, copy, part):
    """Issue 3, E26: with the hash of what is left, so that the engine sees it."""
    path, options = copy(lambda content: content[:int(len(content) * part)])
    fails(start, place, *options, says=[path])


def test_text_as_model_is_a_start_error(start, place, copy):
    """E26: not GGUF, right hash."""
    path, options = copy(lambda content: b"This is a text file.\n" * 10_000)
    fails(start, place, *options, says=[path])


@pytest.mark.parametrize("at", [4, 8, 16, 40, 700])
def test_a_damaged_header_ends_neither_in_a_crash_nor_in_a_hang(start, copy, at):
    """Issue 3: hostile bytes with the right hash; a start error, or, where the byte does not matter, an answer."""
    def damage(content):
        content[at:at + 8] = b"\xff" * 8
        return content
    path, options = copy(damage)
    daemon = start(*options, ready=False)
    events = watched(daemon)
    if events and events[-1]["status"] == "ready":
        assert tell(daemon, greedy(COUNT, max_tokens=2))[-1]["type"] in ("done", "error")
    else:
        assert daemon.wait() == 1
        assert str(path) in daemon.output, daemon.output


def test_layers_for_a_gpu_that_is_not_there_are_a_start_error(start, place):
    """README 21: never a silent CPU."""
    need_model()
    daemon = start(*llama_options("--n-gpu-layers", "1"), ready=False)
    assert daemon.wait() == 1
    assert "gpu" in daemon.output.lower()


def test_no_layers_for_a_gpu_is_fine(start_llama):
    """Spec 04 §3: a negative number counts as 0."""
    assert start_llama("--n-gpu-layers=-1").start_events[-2]["gpu_layers"] == 0


@pytest.mark.parametrize("phase, number", [("verify", signal.SIGTERM), ("mmap", signal.SIGINT), ("kv_cache", signal.SIGTERM)])
def test_a_signal_while_loading_ends_with_0_and_leaves_nothing(start_llama, place, phase, number):
    """README 12, against spec 05 §8: exit code 0, no sockets, no engine."""
    daemon = start_llama(ready=False)
    admin = daemon.track(until(daemon.dial_admin, "admin accepts"))
    while name_of(admin.frame()) != phase:
        pass
    daemon.signal(number)
    assert daemon.wait() == 0, daemon.output
    assert [p.name for p in place.runtime.iterdir()] == ["inferd.lock"]
    assert not engines(daemon.pid)


def test_the_daemon_itself_never_loads_llama_cpp(llama):
    """Architecture §1: it does not link it; the engine does."""
    libraries = llama.hidden("maps").read_text()
    assert "libllama" not in libraries and "libggml" not in libraries and str(MODEL) not in libraries
    assert "libllama" in open(f"/proc/{engine_pid(llama)}/maps").read()


def test_the_model_may_be_replaced_on_disk_while_it_is_served(start, place, copy):
    """Promise 7: removing the file's name does not disturb the running engine."""
    path, options = copy(bytes)
    daemon = start(*options)
    path.unlink()
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=2)))


def test_a_second_daemon_in_the_same_place_is_refused_before_it_loads(start_llama, start):
    """Spec 06 §6."""
    first = start_llama()
    second = start(*llama_options(), ready=False)
    assert second.wait() == 1 and "verify" not in second.output
    assert text_of(tell(first, greedy(COUNT, max_tokens=2)))
