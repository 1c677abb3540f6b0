"""`inferdctl pull` from a server that does wrong (issue 5; promise 10): each ends in an error with a name or in the
right file, and never does anything wrong stand under a blob's final name. What a fetch does when it has to wait long
(a server that stalls or is away) is in src/store/fetch_test.cc, with short times, and in bench/fetch_bench.py."""
import os
import signal
import subprocess
from random import Random

import pytest

from https_servers import Get, Reply, ranged, whole
from store_fixtures import CONTENT, MIB, certificate, fetching  # noqa: F401
from wire import DEADLINE

OTHER = Random(2).randbytes(len(CONTENT))
DAMAGED = CONTENT[:5 * MIB] + bytes([CONTENT[5 * MIB] ^ 1]) + CONTENT[5 * MIB + 1:]
RECORD = 2 * MIB  # a partial file's record is at most so much behind


def first_then(first, then):
    """Answers the first request otherwise than the later ones."""
    answers = iter([first])
    return lambda get: next(answers, then)(get)


def test_a_model_is_there_the_next_time(fetching):
    """07 §2: fetched once, hashed on the way, told with its size."""
    downloads = [e for e in fetching.start().ends() if e["event"] == "progress" and e["phase"] == "download"]
    assert downloads and all(e["total"] in (None, len(CONTENT)) for e in downloads)
    assert [e["bytes"] for e in downloads] == sorted(e["bytes"] for e in downloads)
    fetching.assert_fetched()
    assert [get.range[0] for get in fetching.site.requests] == [0] and fetching.site.body_bytes == len(CONTENT)
    fetching.start().ends()
    assert len(fetching.site.requests) == 1


# What is cut off


def test_a_fetch_that_is_killed_goes_on_where_it_was(fetching):
    """Three times: at most what no record held is asked for again, and only if it is still the same file."""
    ends = []
    for more in (3 * MIB, 2 * MIB + 12_345, 1):
        fetching.site.hold(more)
        pull = fetching.start()
        assert fetching.site.holding.wait(DEADLINE) and len(fetching.site.requests) == len(ends) + 1
        ends.append(fetching.site.requests[-1].range[0] + more)
        fetching.received(ends[-1])
        pull.kill()
        fetching.assert_nothing()
    fetching.site.go_on()
    fetching.start().ends()
    fetching.assert_fetched()
    begins = [get.range[0] for get in fetching.site.requests]
    assert begins[0] == 0 and all(0 <= end - begin < RECORD for begin, end in zip(begins[1:], ends)), (begins, ends)
    assert begins[1] > 0
    assert [get.if_range for get in fetching.site.requests] == [None, '"1"', '"1"', '"1"']


def test_after_ctrl_c_not_a_byte_is_fetched_twice(fetching):
    """The server stalls; the program ends at once, and says that it was interrupted."""
    fetching.site.hold(3 * MIB + 1)
    pull = fetching.start()
    fetching.received(3 * MIB + 1)
    pull.process.send_signal(signal.SIGINT)
    pull.ends(130)
    fetching.assert_nothing()
    fetching.site.go_on()
    fetching.start().ends()
    fetching.assert_fetched()
    assert [get.range[0] for get in fetching.site.requests] == [0, 3 * MIB + 1]


def test_a_connection_that_breaks_is_taken_up_again(fetching):
    def broken(get):
        reply = ranged(CONTENT, get)
        reply.body = reply.body[:3 * MIB]
        return reply
    fetching.site.answer = first_then(broken, fetching.serve)
    fetching.start().ends()
    fetching.assert_fetched()
    assert [get.range[0] for get in fetching.site.requests] == [0, 3 * MIB]


def test_a_file_that_changes_midway_is_taken_from_zero(fetching):
    """If-Range: the server answers with the whole new file."""
    def broken(get):
        reply = ranged(OTHER, get, '"old"')
        reply.body = reply.body[:3 * MIB]
        return reply
    fetching.site.answer = first_then(broken, lambda get: ranged(CONTENT, get, '"new"'))
    fetching.start().ends()
    fetching.assert_fetched()
    assert [get.if_range for get in fetching.site.requests] == [None, '"old"']
    assert fetching.quarantined() == []


def test_a_file_that_changes_midway_is_seen_without_the_servers_help(fetching):
    """The server ignores If-Range, and its tag gives it away: nothing of the old file is mixed in."""
    def broken(get):
        reply = ranged(OTHER, get, '"old"')
        reply.body = reply.body[:3 * MIB]
        return reply
    fetching.site.answer = first_then(broken, lambda get: ranged(CONTENT, Get(get.path, get.range), '"new"'))
    fetching.start().ends()
    fetching.assert_fetched()
    assert fetching.quarantined() == []


# A server that is wrong


def test_a_flipped_byte_is_quarantined_and_named(fetching):
    fetching.site.answer = lambda get: ranged(DAMAGED, get)
    fetching.start().ends(2, says="error: sha256_mismatch: ")
    fetching.assert_nothing()
    assert fetching.quarantined() == [DAMAGED]
    fetching.site.answer = fetching.serve
    fetching.start().ends()
    fetching.assert_fetched()


def test_after_a_flipped_byte_the_next_mirror_has_the_model(fetching):
    """source_urls: from zero, since nobody knows which byte is wrong."""
    fetching.site.answer = lambda get: ranged(DAMAGED if get.path == "/model.gguf" else CONTENT, get)
    fetching.start_from_config(source_urls=[fetching.site.url("/mirror.gguf")]).ends()
    fetching.assert_fetched()
    assert fetching.quarantined() == [DAMAGED]
    assert [(get.path, get.range[0]) for get in fetching.site.requests] == [("/model.gguf", 0), ("/mirror.gguf", 0)]


@pytest.mark.parametrize("extra", [-MIB, MIB], ids=["too short", "too long"])
@pytest.mark.parametrize("ranges", [True, False], ids=["206", "200"])
def test_a_wrong_content_length_once_is_put_right(fetching, ranges, extra):
    """What the answer lacks is asked for; a whole answer without a part of it begins again."""
    def wrong(get):
        reply = ranged(CONTENT, get) if ranges else whole(CONTENT)
        reply.length += extra
        if extra < 0:
            reply.body = reply.body[:reply.length] if ranges else reply.body
        return reply
    right = fetching.serve if ranges else lambda get: whole(CONTENT)
    fetching.site.answer = first_then(wrong, right)
    if ranges or extra > 0:
        fetching.start().ends()
        fetching.assert_fetched()
    else:  # a shorter file, as far as anybody can see
        fetching.start().ends(2, says="error: sha256_mismatch: ")
        fetching.assert_nothing()
        assert fetching.quarantined() == [CONTENT[:extra]]


OTHER_SIZES = {"longer": lambda get: ranged(CONTENT + b"x", get), "shorter": lambda get: whole(CONTENT[:-1]),
               "shorter, without a length": lambda get: Reply(200, {}, CONTENT[:-1], None)}


@pytest.mark.parametrize("answer", OTHER_SIZES.values(), ids=OTHER_SIZES)
def test_a_file_of_another_size_than_configured_is_named(fetching, answer):
    fetching.site.answer = answer
    fetching.start_from_config(size_bytes=len(CONTENT)).ends(2, says="error: size_mismatch: ")
    fetching.assert_nothing()


def test_a_server_without_ranges_is_read_from_zero_each_time(fetching):
    """200 to a Range request, also to the one that goes on after a kill."""
    fetching.site.answer = lambda get: whole(CONTENT)
    fetching.site.hold(3 * MIB)
    pull = fetching.start()
    fetching.received(3 * MIB)
    pull.kill()
    fetching.site.go_on()
    fetching.start().ends()
    fetching.assert_fetched()
    assert fetching.site.requests[1].range[0] > 0


def test_a_body_without_a_length_ends_where_it_ends(fetching):
    fetching.site.answer = lambda get: Reply(200, {}, CONTENT, None)
    fetching.start().ends()
    fetching.assert_fetched()


def test_a_range_that_was_not_asked_for_is_named(fetching):
    fetching.site.answer = lambda get: ranged(CONTENT, Get(get.path, (5, get.range[1])))
    fetching.start().ends(2, says="error: bad_reply: ")
    fetching.assert_nothing()


def test_an_answer_that_can_have_no_body_is_named(fetching):
    fetching.site.answer = lambda get: Reply(204)
    fetching.start().ends(2, says="error: http_status: ")
    fetching.assert_nothing()


def test_an_endless_body_is_cut_at_the_configured_size(fetching):
    fetching.site.answer = lambda get: Reply(200, {}, CONTENT, None, endless=True)
    fetching.start_from_config(size_bytes=len(CONTENT)).ends(2, says="error: body_too_long: ")
    fetching.assert_nothing()
    assert fetching.partial.stat().st_size <= len(CONTENT)


# Redirects


def redirect(to: str):
    return lambda get: Reply(302, {"Location": to})


def test_a_redirect_to_http_is_refused(fetching):
    fetching.site.answer = redirect("http://127.0.0.1:1/model.gguf")
    fetching.start().ends(2, says="error: insecure_redirect: ")
    fetching.assert_nothing()
    assert len(fetching.site.requests) == 1


def test_redirects_without_end_are_refused(fetching):
    fetching.site.answer = redirect("/model.gguf")
    fetching.start().ends(2, says="error: too_many_redirects: ")
    fetching.assert_nothing()
    assert len(fetching.site.requests) == 6


def test_a_redirect_to_https_is_followed(fetching):
    fetching.site.answer = lambda get: fetching.serve(get) if get.path == "/there" else redirect("/there")(get)
    fetching.start().ends()
    fetching.assert_fetched()


# Refusals


def test_a_missing_file_is_named_at_once(fetching):
    """The same answer would come again."""
    fetching.site.answer = lambda get: Reply(404)
    fetching.start().ends(2, says="error: http_status: ")
    assert "404" in fetching.pulls[-1].errors
    fetching.assert_nothing()
    assert len(fetching.site.requests) == 1


def test_a_missing_file_is_looked_for_at_the_next_mirror(fetching):
    fetching.site.answer = lambda get: Reply(404) if get.path == "/model.gguf" else fetching.serve(get)
    fetching.start_from_config(source_urls=[fetching.site.url("/mirror.gguf")]).ends()
    fetching.assert_fetched()


def test_a_server_that_asks_for_patience_gets_it(fetching):
    """Retry-After."""
    fetching.site.answer = first_then(lambda get: Reply(503, {"Retry-After": "1"}), fetching.serve)
    fetching.start().ends()
    fetching.assert_fetched()
    assert len(fetching.site.requests) == 2


def test_a_certificate_that_nobody_vouches_for_is_refused(fetching):
    fetching.start(env={"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}).ends(2, says="error: tls_failed: ")
    fetching.assert_nothing()
    assert fetching.site.requests == []


@pytest.mark.parametrize("answer", [lambda get: Reply(404), lambda get: ranged(DAMAGED, get)], ids=["404", "damaged"])
def test_what_a_url_hides_is_not_shown(fetching, answer):
    """README 23: neither password nor signature."""
    fetching.site.answer = answer
    url = fetching.site.url("/model.gguf?signature=HIDDEN", user="me:HIDDEN@")
    pull = fetching.start("pull", url, "--sha256", fetching.sha256, "--name", "m")
    pull.ends(2)
    assert "HIDDEN" not in pull.errors and "HIDDEN" not in pull.out.read_text()


# Room


@pytest.fixture
def small_disk(fetching):
    """Puts the store on a file system of so many MiB."""
    mounted = []

    def make(mib: int) -> None:
        if os.geteuid():
            pytest.skip("needs root, to mount a small file system")
        fetching.root.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0700", "tmpfs", fetching.root]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
        mounted.append(fetching.root)

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_model_that_has_no_room_is_not_begun(fetching, small_disk):
    """64 MiB stay free for others; room that is made later is used."""
    small_disk(68)
    fetching.start().ends(2, says="error: no_space: ")
    fetching.assert_nothing()
    assert fetching.partial.stat().st_size == 0
    subprocess.run(["mount", "-o", "remount,size=96m", fetching.root], check=True)
    fetching.start().ends()
    fetching.assert_fetched()


def test_an_endless_body_of_unknown_size_ends_with_the_room_and_gives_it_back(fetching, small_disk):
    small_disk(96)
    fetching.site.answer = lambda get: Reply(200, {}, CONTENT, None, endless=True)
    fetching.start().ends(2, says="error: no_space: ")
    fetching.assert_nothing()
    assert fetching.site.body_bytes > 24 * MIB and fetching.partial.stat().st_size == 0


# Several at once


def test_three_at_once_are_one_download(fetching):
    """The others wait, tell the same progress, and find it there."""
    fetching.site.hold(MIB)
    pulls = [fetching.start() for _ in range(3)]
    for pull in pulls:
        pull.told("download")
    fetching.site.go_on()
    for pull in pulls:
        pull.ends()
    fetching.assert_fetched()
    assert len(fetching.site.requests) == 1 and fetching.site.body_bytes == len(CONTENT)


def test_who_waits_takes_over_from_who_is_killed(fetching):
    fetching.site.hold(3 * MIB)
    first = fetching.start()
    fetching.received(3 * MIB)
    second = fetching.start()
    second.told("download")
    first.kill()
    fetching.site.go_on()
    second.ends()
    fetching.assert_fetched()
    assert [get.range[0] >= RECORD for get in fetching.site.requests] == [False, True]
