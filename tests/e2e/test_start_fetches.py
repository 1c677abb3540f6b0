"""A daemon whose config file names models fetches what is missing at its start (spec 04 §2, 05 §2, 07 §2; issue 5), and
checks what is there. The model is a tiny one (tiny_models.py): what matters is how it comes."""
from __future__ import annotations

import itertools
import json
import os
import signal
import time

import pytest

from daemon_process import Daemon, Place, until
from https_servers import Reply
from llama_fixtures import ENGINE
from store_fixtures import Fetching, certificate  # noqa: F401
from tiny_models import TinyModel
from wire import DEADLINE, Conn

ORDER = ["starting", "checking_local", "download", "verify", "mmap", "kv_cache", "capabilities", "ready"]
SETTLED = 2.5  # seconds after which a change of a file cannot share its times with a hashing (src/store/verify.h: 2)


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")
    return TinyModel("full").write(tmp_path_factory.mktemp("model")).path.read_bytes()


@pytest.fixture
def fetching(place, certificate, content):
    """The store that a model is to come into."""
    made = Fetching(place, certificate, content)
    yield made
    made.close()


@pytest.fixture
def start_from(start, fetching):
    """Starts daemons on the config file of the store's model."""
    def go(*args: str, auto_pull: bool = True, **options) -> Daemon:
        return start("--config", str(fetching.config(auto_pull=auto_pull)), *args, **options)
    return go


@pytest.fixture
def other_place(fetching):
    """For a daemon of its own that has the store in common."""
    here = Place()
    fetching.trust(here)
    yield here
    here.remove()


def watch_until(conn: Conn, name: str) -> list[dict]:
    """Admin's events up to the first of this phase or status."""
    events = []
    while not events or name not in (events[-1].get("phase"), events[-1]["status"]):
        line = conn.line()
        assert line is not None, events
        events.append(json.loads(line))
    return events


def watched(daemon: Daemon, name: str) -> Conn:
    """A connection to admin that has told this phase."""
    conn = daemon.track(until(daemon.dial_admin, "admin accepts"))
    watch_until(conn, name)
    return conn


def assert_answers(daemon: Daemon) -> None:
    frames = daemon.connect().ask("hello", max_tokens=2)
    assert frames[-1]["type"] == "done", frames


def test_a_missing_model_is_fetched_and_served(start_from, fetching):
    """Spec 04 §2: the phases in their order, with their fields; then the model answers, and the store has it."""
    fetching.site.hold(100_000)
    daemon = start_from(ready=False)
    conn = daemon.track(until(daemon.dial_admin, "admin accepts"))
    events = watch_until(conn, "download")
    assert fetching.site.holding.wait(DEADLINE)
    fetching.site.go_on()
    events += watch_until(conn, "ready")
    names = [name for name, _ in itertools.groupby(event.get("phase", event["status"]) for event in events)]
    assert names == sorted(names, key=ORDER.index) and set(ORDER) - {"starting", "checking_local"} <= set(names), names
    size = len(fetching.content)
    downloads, hashed = ([e for e in events if e.get("phase") == phase] for phase in ("download", "verify"))
    assert {e["source_url"] for e in downloads} == {fetching.site.url()}
    assert {e.get("total_bytes") for e in downloads} <= {None, size}
    assert [e["downloaded_bytes"] for e in downloads] == sorted(e["downloaded_bytes"] for e in downloads)
    assert downloads[-1]["downloaded_bytes"] == size
    assert {e["path"] for e in hashed} <= {str(fetching.partial), str(fetching.blob)}
    assert {e["total_bytes"] for e in hashed} == {size}
    assert hashed[-1]["path"] == str(fetching.blob) and hashed[-1]["verified_bytes"] == size
    assert_answers(daemon)
    fetching.assert_fetched()
    daemon.stop()
    assert_answers(start_from())
    assert len(fetching.site.requests) == 1


def test_without_auto_pull_a_missing_model_is_a_start_error_that_says_what_to_do(start_from, fetching, start):
    """Spec 05 §8. What `inferdctl pull` has brought is served."""
    start.fails("--config", str(fetching.config(auto_pull=False)), says=("auto_pull", "inferdctl pull"))
    assert fetching.site.requests == []
    fetching.start_from_config().ends()
    assert_answers(start_from(auto_pull=False))


def test_a_fetch_that_fails_is_a_start_error_with_its_name(start, fetching):
    fetching.site.answer = lambda get: Reply(404)
    start.fails("--config", str(fetching.config()), says=("http_status", "404", fetching.site.url()))
    fetching.assert_nothing()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_a_download_and_the_next_start_goes_on(start_from, fetching, number):
    """README 17: exit code 0, though the server says nothing more; not a byte is fetched twice."""
    fetching.site.hold(50_000)
    daemon = start_from(ready=False)
    fetching.received(50_000)
    daemon.signal(number)
    assert daemon.wait() == 0
    fetching.assert_nothing()
    fetching.site.go_on()
    assert_answers(start_from())
    fetching.assert_fetched()
    assert [get.range[0] for get in fetching.site.requests] == [0, 50_000]


def test_two_daemons_and_three_pulls_are_one_download(start_from, fetching, other_place):
    """Issue 5: on an empty store. Those who wait tell the progress of the one who fetches."""
    fetching.site.hold(50_000)
    first = start_from(ready=False)
    second = Daemon(other_place, "--config", str(fetching.config()))
    try:
        pulls = [fetching.start_from_config() for _ in range(3)]
        for pull in pulls:
            pull.told("download")
        for daemon in (first, second):
            watched(daemon, "download")
        fetching.site.go_on()
        for daemon in (first, second):
            daemon.wait_ready()
            assert_answers(daemon)
        for pull in pulls:
            pull.ends()
        fetching.assert_fetched()
        assert len(fetching.site.requests) == 1 and fetching.site.body_bytes == len(fetching.content)
    finally:
        second.stop()


def damage(fetching: Fetching) -> bytes:
    """Flips a byte in the middle of the blob; its new content."""
    content = bytearray(fetching.blob.read_bytes())
    content[len(content) // 2] ^= 1
    fetching.blob.write_bytes(content)
    return bytes(content)


def test_a_damaged_blob_is_quarantined_and_fetched_again(start_from, fetching):
    """Though its manifest is right and its size, too."""
    start_from().stop()
    damaged = damage(fetching)
    assert_answers(start_from())
    fetching.assert_fetched()
    assert fetching.quarantined() == [damaged]
    assert len(fetching.site.requests) == 2


def test_a_damaged_blob_that_nobody_can_replace_is_a_start_error(start_from, start, fetching):
    """It is never loaded: neither now nor at the next start."""
    start_from().stop()
    damaged = damage(fetching)
    fetching.site.answer = lambda get: Reply(404)
    for _ in range(2):
        start.fails("--config", str(fetching.config()), says="http_status")
    assert fetching.quarantined() == [damaged] and not fetching.blob.exists()


def test_without_auto_pull_a_damaged_blob_is_a_start_error(start_from, start, fetching):
    """Nothing is fetched and nothing is moved: who turned it off sees what is there."""
    start_from().stop()
    damaged = damage(fetching)
    start.fails("--config", str(fetching.config(auto_pull=False)), says=(fetching.blob, fetching.sha256))
    assert fetching.blob.read_bytes() == damaged and fetching.quarantined() == [] and len(fetching.site.requests) == 1


def test_a_verification_is_believed_until_the_file_changes(start_from, fetching):
    """--verify=recorded, the default: a start hashes and records, the next one believes that. --verify=always hashes
    again, and so does a start after somebody has touched the file."""
    def verified(*args: str) -> str:
        daemon = start_from(*args)
        how = daemon.told(r"bytes, (verified before|verified)\b")[1]
        daemon.stop()
        return how

    fetching.start_from_config().ends()
    until(lambda: time.time() > fetching.blob.stat().st_ctime + SETTLED, "the file's times are past")
    assert verified() == "verified"
    assert verified() == "verified before"
    assert verified("--verify=always") == "verified"
    os.utime(fetching.blob)
    assert verified() == "verified"
