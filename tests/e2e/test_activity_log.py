"""The activity log (spec 06 §7 and §8, README 23): what is in it, what never is, rotation, trouble with its folder."""
import os
import re
import stat

import pytest

from callers import arrived
from daemon_process import until
from wire import request

CAP = 16 << 20
SECRETS = {  # D35: secret -> marker
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl": "jwt",
    "sk-abcdefghij0123456789": "api-key",
    "sk-proj-abc_def-0123456789-xyz": "api-key",
    "Authorization: Bearer abcdef123456": "auth-header",
    "authorization=basic YWxhZGRpbjpvcGVu": "auth-header",
    "password=hunter22": "secret-kv",
    "api_key: verysecret": "secret-kv",
    "AKIAIOSFODNN7EXAMPLE": "aws-access",
    "ASIAIOSFODNN7EXAMPLE": "aws-session",
    "ghp_abcdefghij0123456789ABCDEF": "api-key",
    "xoxb-123456789012-abcdef": "api-key",
    "pat-abcdefghij0123456789": "api-key",
    "thingspat_abcdefghij0123456789": "api-key",
}
PLAIN = ["a plain sentence about a token and a password", "version=0.1.0-alpha.0", "bytes=42", "sk-short", "ghp_short",
         "AKIAshort", "ü☃𝄞 \\ \" / \t"]


def test_a_request_is_recorded_when_it_is_done(start):
    """D38, spec 06 §7.2: the published fields, plus the peer."""
    conn = (daemon := start(tape=["a", "b"])).connect()
    conn.ask(id="r1")
    record = daemon.logged("request_done", req_id="r1")
    published = {"level": "info", "component": "activity", "backend": "mock", "stop_reason": "End", "prompt_tokens": 0,
                 "completion_tokens": 2, "peer_uid": os.geteuid(), "peer_pid": os.getpid()}
    assert published.items() <= record.items(), record
    assert record["peer"] == f"unix:{os.geteuid()}:{os.getpid()}" and record["cached_prompt_tokens"] == 0
    assert 0 <= record["queue_ms"] <= record["first_token_ms"] <= record["duration_ms"]


def test_a_request_that_had_to_wait_is_recorded_with_its_time_in_the_queue(start):
    """Issue 5: the queue's part of the time to the first token."""
    daemon = start(tape=["a"] * 100, delay_ms=20)
    first = daemon.submit("first")
    second = daemon.connect().send(request(id="second", progress=True))
    assert second.frame()["status"] == "queued"
    arrived(first)
    assert [first.frame()["type"] for _ in range(2)] == ["token"] * 2  # 20 ms lie between them
    first.close()
    assert second.answer()[-1]["type"] == "done"
    record = daemon.logged("request_done", req_id="second")
    assert 10 <= record["queue_ms"] <= record["first_token_ms"] <= record["duration_ms"]


def test_a_request_over_tcp_is_recorded_with_its_address_alone(start):
    """Spec 06 §7.2: peer_uid and peer_pid are there where the kernel vouches for them."""
    daemon = start(tcp="127.0.0.1")
    (conn := daemon.connect()).ask(id="far")
    record = daemon.logged("request_done", req_id="far", peer="tcp:127.0.0.1:%d" % conn.sock.getsockname()[1])
    assert not {"peer_uid", "peer_pid"} & record.keys()


def test_a_request_without_text_is_recorded_without_a_time_of_its_first_token(start):
    """Issue 5: a field that would not be true is left out."""
    daemon = start(tape=[])
    daemon.connect().ask(id="silent")
    assert "first_token_ms" not in daemon.logged("request_done", req_id="silent")


def test_every_record_has_its_base_keys_and_keys_are_sorted(start, place):
    """Spec 06 §7.1: RFC 3339 in UTC, known levels, alphabetical keys, one compact object a line."""
    daemon = start()
    daemon.connect().ask()
    daemon.logged("request_done")
    for record in place.records():
        assert list(record) == sorted(record)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.(\d{3}|\d{6}|\d{9}))?\+00:00", record["t"]), record
        assert record["level"] in ("error", "warn", "info", "debug", "trace") and record["component"], record


def test_a_connection_is_recorded_with_its_peer(start):
    """D27, spec 05 §7, spec 06 §7.2."""
    daemon = start()
    daemon.connect()
    record = daemon.logged("connection_accepted", transport="unix", peer=f"unix:{os.geteuid()}:{os.getpid()}")
    assert (record["peer_uid"], record["peer_pid"], record["level"]) == (os.geteuid(), os.getpid(), "info")
    daemon.stop()
    daemon = start(tcp="127.0.0.1")
    conn = daemon.connect()
    record = daemon.logged("connection_accepted", transport="tcp", peer="tcp:127.0.0.1:%d" % conn.sock.getsockname()[1])
    assert "peer_uid" not in record and "peer_pid" not in record


def test_a_stream_that_breaks_is_recorded_as_a_warning(start):
    """Spec 06 §7.2."""
    daemon = start(tape=["a", "b"], fault="drop-after:1")
    daemon.connect().ask(id="broken")
    record = daemon.logged("request_error_mid_stream", req_id="broken")
    assert (record["level"], record["backend"]) == ("warn", "mock")
    assert (record["peer_uid"], record["peer_pid"], record["peer"]) == (os.geteuid(), os.getpid(), f"unix:{os.geteuid()}:{os.getpid()}")


def test_a_stream_that_breaks_before_its_first_piece_is_recorded_too(start):
    """Spec 06 §7.2: it had begun."""
    daemon = start(tape=["a"], fault="drop-after:0")
    assert [f["type"] for f in daemon.connect().ask(id="broken")] == ["error"]
    assert daemon.logged("request_error_mid_stream", req_id="broken")["level"] == "warn"


def test_a_cancelled_request_is_recorded(start):
    """Issue 3: a hang-up leaves a record with the state that it met."""
    daemon = start(tape=["a"] * 10_000, delay_ms=10)
    gone = daemon.submit("gone")
    assert gone.frame()["type"] == "token"
    gone.close()
    record = daemon.logged("request_cancelled", req_id="gone")
    assert (record["state"], record["backend"]) == ("running", "mock")
    assert (record["peer_uid"], record["peer_pid"], record["peer"]) == (os.geteuid(), os.getpid(), f"unix:{os.geteuid()}:{os.getpid()}")


def test_secrets_in_a_request_id_never_reach_the_file(start, place):
    """D35, D39, spec 06 §7.4: the marker does, each record stays JSON, the rest of the line stays."""
    daemon = start()
    conn = daemon.connect()
    for secret in SECRETS:
        conn.ask(id=f"before {secret} after")
    conn.ask(id=" and ".join(SECRETS))
    conn.ask(id="last")
    daemon.logged("request_done", req_id="last")
    text = place.log_file.read_text()
    assert not [secret for secret in SECRETS if secret in text]
    ids = [r["req_id"] for r in place.records() if r.get("msg") == "request_done"]
    assert ids[:len(SECRETS)] == [f"before [REDACTED:{marker}] after" for marker in SECRETS.values()]
    assert ids[len(SECRETS)].count("[REDACTED:") == len(SECRETS)


def test_secrets_under_quoted_keys_never_reach_the_file(start, place):
    """Spec 06 §10 item 8: JSON in a text, also escaped once more."""
    daemon = start()
    conn = daemon.connect()
    for id in ('{"password":"hunter22"}', r'{\"api_key\": \"hunter22\"}', '{"Authorization":"Bearer hunter22hunter22"}'):
        conn.ask(id=id)
    conn.ask(id="last")
    daemon.logged("request_done", req_id="last")
    assert "hunter" not in place.log_file.read_text()
    assert [r["req_id"].count("[REDACTED:") for r in place.records() if r["msg"] == "request_done"] == [1, 1, 1, 0]


def test_what_is_no_secret_is_written_unchanged(start):
    """D36."""
    daemon = start()
    for id in PLAIN:
        daemon.connect().ask(id=id)
        daemon.logged("request_done", req_id=id)


def test_a_full_file_is_rotated_and_three_old_ones_are_kept(start, place):
    """D37, spec 06 §7.1: before a record that would exceed 16 MiB."""
    place.logs.mkdir(0o700)
    old = {n: place.logs / f"inferd.ndjson.{n}" for n in (1, 2, 3, 4)}
    place.log_file.write_bytes(b'{"msg":"live"}\n' * (CAP // 15))
    for n in (1, 2, 3):
        old[n].write_text(f'{{"msg":"old {n}"}}\n')
    daemon = start()
    daemon.connect().ask(id="after")
    daemon.logged("request_done", req_id="after")
    assert old[1].read_bytes()[:15] == b'{"msg":"live"}\n' and old[1].stat().st_size <= CAP
    assert [old[n].read_text() for n in (2, 3)] == ['{"msg":"old 1"}\n', '{"msg":"old 2"}\n']
    assert not old[4].exists()
    assert place.log_file.stat().st_size < 1 << 20


def test_a_file_with_room_is_appended_to_across_starts(start, place):
    """Spec 06 §7: append mode, the length at open counts."""
    for id in ("first", "second"):
        daemon = start()
        daemon.connect().ask(id=id)
        daemon.logged("request_done", req_id=id)
        daemon.stop()
    assert [r["req_id"] for r in place.records() if r.get("msg") == "request_done"] == ["first", "second"]


def test_the_last_records_are_written_before_the_end(start, place):
    """Spec 06 §7.1: a plain write per record; nothing is lost at a clean end."""
    daemon = start()
    conn = daemon.connect()
    for n in range(500):
        conn.send(request(id=str(n)))
        conn.answer()
    daemon.signal()
    assert daemon.wait() == 0
    assert [r["req_id"] for r in place.records() if r.get("msg") == "request_done"] == [str(n) for n in range(500)]


def test_log_files_and_folder_are_private(start, place):
    """README 23."""
    place.logs.mkdir(0o700)
    place.log_file.write_bytes(b"{}\n" * (CAP // 3))
    place.log_file.chmod(0o600)
    daemon = start(umask=0)
    daemon.connect().ask()
    daemon.logged("request_done")
    for path in (place.log_file, place.logs / "inferd.ndjson.1"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.logs.stat().st_mode) == 0o700


def test_without_a_log_folder_in_the_environment_it_is_in_the_home(start, place):
    """Spec 05 §4."""
    place.env.pop("INFERD_LOG_DIR")
    start().connect().ask()
    until((place.home / ".inferd" / "logs" / "inferd.ndjson").is_file, "the log in the home folder")


@pytest.mark.parametrize("level, shown", [("off", False), ("0", False), ("error", False), ("", False), ("warn", False),
                                          ("info", True), ("debug", True), ("trace", True), ("===", True), (None, True)])
def test_the_filter_governs_file_and_stderr(start, place, level, shown):
    """Spec 06 §8: unset or unparsable is info, set but empty is errors only."""
    daemon = start("--backend", "mock", env={} if level is None else {"INFERD_LOG": level})
    daemon.connect().ask(id="only")
    daemon.stop()
    assert ("only" in [r.get("req_id") for r in place.records()]) == shown
    if level in ("off", "0"):
        assert place.records() == [] and daemon.output == ""


def test_no_color_keeps_escape_sequences_off_stderr(start):
    """Spec 05 §1: `NO_COLOR` non-empty."""
    daemon = start()
    daemon.stop()
    assert daemon.output and "\x1b" not in daemon.output


def test_a_log_folder_that_cannot_be_made_is_a_start_error_that_names_it(start, place):
    """Spec 05 §8, stage log init."""
    (place.base / "file").write_text("")
    for folder in (place.base / "file", place.base / "file" / "logs"):
        start.fails(env={"INFERD_LOG_DIR": str(folder)}, says=folder)


def test_a_log_file_that_cannot_be_opened_is_a_start_error_that_names_it(start, place):
    """Spec 05 §8: a folder is where the file should be."""
    place.log_file.mkdir(parents=True)
    start.fails(says=place.log_file)
