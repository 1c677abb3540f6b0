"""inferdctl's commands on the model store: pull, list, import, verify, rm, gc (spec 07 §4). doctor is in
test_doctor.py, servers that do wrong are in test_fetch.py."""
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from daemon_process import CTL
from https_servers import Certificate, Get, Reply, Site, ranged
from store_fixtures import certificate  # noqa: F401
from store_place import content, model, orphan, sha256, store  # noqa: F401
from wire import DEADLINE

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Files:
    """A site that serves `files` by path, in ranges; the query is not looked at."""

    def __init__(self, certificate: Certificate) -> None:
        self.files, self.site = {}, Site(certificate, self.answer)

    def answer(self, get: Get) -> Reply:
        data = self.files.get(urlsplit(get.path).path)
        return Reply(404) if data is None else ranged(data, get)

    def url(self, path: str, data: bytes | None = None) -> str:
        if data is not None:
            self.files[path] = data
        return self.site.url(path)


@pytest.fixture
def server(certificate, store):
    running = Files(certificate)
    store.place.env["SSL_CERT_FILE"] = str(certificate.file)
    yield running
    running.site.close()


# pull

def test_pull_by_url(store, server):
    """Spec 07 §4: the two lines; the name is the URL's last part; a second pull asks nobody."""
    data = content(1)
    url = server.url("/some/where/tiny.gguf", data)
    for _ in range(2):
        told = store.ctl("pull", url + "?signature=secret", "--sha256", sha256(data).upper())
        assert told.stdout == "" and "secret" not in told.stderr
        assert told.stderr == f"inferdctl: pulling tiny -> {store.root}\ninferdctl: blob ready at {store.blob(data)}\n"
        assert len(server.site.requests) == 1
    assert store.blob(data).read_bytes() == data
    assert json.loads(store.manifest("tiny").read_text())["name"] == "tiny"


def test_pull_by_url_under_a_name_of_ones_own(store, server):
    data = content(1)
    store.ctl("pull", server.url("/a.gguf", data), "--sha256", sha256(data), "--name", "my/own")
    assert [found["name"] for found in store.lines("list")] == ["my/own"]
    assert store.manifest("my%2Fown").exists()


def test_pull_takes_every_llamacpp_entry_of_the_config(store, server):
    """Spec 07 §4: models_home, the licence, mirrors; entries of other kinds are passed by."""
    one, two = content(1), content(2, 10)
    home = store.place.base / "elsewhere"
    store.configure(model("one", one, server.url("/gone"), source_urls=[server.url("/one", one)], size_bytes=len(one), license="mit"),
                    model("two", two, server.url("/two", two)), models_home=str(home),
                    more=[{"kind": "openai-compat", "name": "far", "base_url": "https://far.example", "model": "m"}])
    told = store.ctl("pull")
    store.root = home
    said = [line for line in told.stderr.splitlines() if line.startswith("inferdctl: ")]
    assert said == [f"inferdctl: pulling one -> {home}", f"inferdctl: blob ready at {store.blob(one)}",
                    f"inferdctl: pulling two -> {home}", f"inferdctl: blob ready at {store.blob(two)}"]
    assert json.loads(store.manifest("one").read_text())["license"] == "mit"
    assert store.blob(two).read_bytes() == two


def test_pull_goes_on_with_the_next_model_after_a_failure(store, server):
    """Exit code 2 all the same."""
    one, two = content(1), content(2)
    store.configure(model("one", one, server.url("/gone")), model("two", two, server.url("/two", two)))
    told = store.ctl("pull", code=2)
    assert "error: http_status: " in told.stderr and "/gone" in told.stderr and "404" in told.stderr
    assert store.blobs() == [store.blob(two)]


def test_pull_says_what_it_does_as_json(store, server):
    """Progress from 0 to the end, then one object about the model; nothing for people."""
    data = content(1)
    url = server.url("/m.gguf", data)
    told = store.ctl("pull", url, "--sha256", sha256(data), "--json")
    *progress, done = map(json.loads, told.stdout.splitlines())
    assert told.stderr == ""
    assert {(event["event"], event["name"]) for event in progress} == {("progress", "m")}
    downloaded = [event["bytes"] for event in progress if event["phase"] == "download"]
    assert downloaded[0] == 0 and downloaded[-1] == len(data) and downloaded == sorted(downloaded)
    expected = {"event": "done", "name": "m", "sha256": sha256(data), "bytes": len(data), "how": "downloaded",
                "path": str(store.blob(data))}
    assert done == expected
    assert store.lines("pull", url, "--sha256", sha256(data)) == [expected | {"how": "was_there"}]


def written_to(leader: int) -> str:
    """All that programs wrote to a terminal that they have closed by now."""
    shown = b""
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(1 << 16):
                shown += part
        except OSError:  # EIO: the end
            pass
    return shown.decode()


def test_pull_shows_a_bar_on_a_terminal(store, server):
    """Over its own line, and gone before the next text."""
    data = content(1, 3 << 20)
    leader, follower = pty.openpty()
    try:
        pulled = subprocess.run([CTL, "pull", server.url("/m.gguf", data), "--sha256", sha256(data)], env=store.place.env, stderr=follower,
                                stdin=subprocess.DEVNULL, timeout=DEADLINE)
    finally:
        os.close(follower)
    shown = written_to(leader)
    assert pulled.returncode == 0, shown
    assert "\r\x1b[Kdownloading m" in shown and "[########################] 100 %  3 MiB of 3 MiB" in shown
    assert "\r\x1b[Kinferdctl: blob ready at " in shown


def test_bytes_with_another_digest_are_quarantined(store, server):
    """Nothing is under the final name; exit code 2; both digests are told."""
    data, wanted = content(1), sha256(content(2))
    told = store.ctl("pull", server.url("/m.gguf", data), "--sha256", wanted, code=2)
    assert "error: sha256_mismatch: " in told.stderr and sha256(data) in told.stderr and wanted in told.stderr
    assert store.blobs() == [] and store.partials() == [] and not store.manifest("m").exists()
    assert [file.read_bytes() for file in store.quarantined()] == [data]


def test_only_https_is_fetched(store):
    told = store.ctl("pull", "http://127.0.0.1:1/m.gguf", "--sha256", "0" * 64, code=2)
    assert "error: not_https: http://127.0.0.1:1/m.gguf" in told.stderr
    assert store.blobs() == []


def test_a_url_without_a_file_name_needs_a_name(store):
    for url in ("https://127.0.0.1:1", "https://127.0.0.1:1/models/"):
        assert "--name" in store.ctl("pull", url, "--sha256", "0" * 64, code=2).stderr


def test_ctrl_c_keeps_what_has_come(store, server):
    """Exit code 130. gc leaves it to the next pull, which goes on from there."""
    data = content(1, 4 << 20)
    store.configure(model("m", data, server.url("/m.gguf", data)))
    server.site.hold(after=1 << 20)
    process = subprocess.Popen([CTL, "pull", "--json"], env=store.place.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        while json.loads(process.stdout.readline())["bytes"] == 0:
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130 and err.startswith("interrupted: "), err
    assert len(store.partials()) == 1 and store.blobs() == []
    assert "nothing to delete" in store.ctl("gc", "--yes").stderr
    server.site.go_on()
    server.site.forget()
    store.ctl("pull")
    assert store.blob(data).read_bytes() == data and store.partials() == []
    if BOOT_ID.exists():  # else what is not synced may be lost
        assert all(get.range[0] > 0 for get in server.site.requests), server.site.requests


def test_nothing_to_pull(store):
    """Spec 07 §4: a note, and exit code 0: without a config file, and with one of other kinds."""
    assert "nothing to pull" in store.ctl("pull").stderr
    store.configure(more=[{"kind": "openai-compat", "name": "far", "base_url": "https://far.example", "model": "m"}])
    assert "nothing to pull" in store.ctl("pull").stderr
    assert not store.root.exists()


@pytest.mark.parametrize("command", [("pull",), ("list",), ("import", "x"), ("verify",), ("rm", "x"), ("gc",)], ids=" ".join)
def test_a_config_file_that_is_wrong_or_named_and_missing_is_an_error(store, command):
    """README 20: it names the file; the store of another configuration is never touched instead."""
    path = store.configure(model("m", b"") | {"sha256": "short"})
    told = store.ctl(*command, code=2)
    assert told.stderr.startswith("error: ") and str(path) in told.stderr and "sha256" in told.stderr
    told = store.ctl("--config", "/nowhere/config.json", *command, code=2)
    assert told.stderr.startswith("error: ") and "/nowhere/config.json" in told.stderr
    store.place.env["INFERD_CONFIG"] = "/nowhere/else.json"
    assert "/nowhere/else.json" in store.ctl(*command, code=2).stderr


# list

def test_list_is_a_table_with_the_state_of_each_model(store):
    """ok, blob missing, wrong size, unreadable manifest, a blob of another kind; sorted by name."""
    assert "no models" in store.ctl("list").stderr
    good, missing, cut, other = content(1), content(2), content(3), content(4, 10)
    store.take("good", good)
    store.take("missing", missing).unlink()
    os.truncate(store.take("cut", cut), 5)
    store.take("other", other)
    changed = json.loads(store.manifest("other").read_text())
    store.manifest("other").write_text(json.dumps(changed | {"blob": "blake3:00", "license": "x\x1b[2Jy"}))
    store.manifest("broken").write_text("{")
    told = store.ctl("list")
    rows = [re.split(r"  +", line) for line in told.stdout.splitlines()]
    assert rows == [["NAME", "SIZE", "SHA-256", "LICENCE", "STATE"],
                    ["broken", "-", "-", "-", "unreadable manifest"],
                    ["cut", "98 KiB", sha256(cut)[:12], "-", "wrong size"],
                    ["good", "98 KiB", sha256(good)[:12], "-", "ok"],
                    ["missing", "98 KiB", sha256(missing)[:12], "-", "blob missing"],
                    ["other", "1 KiB", "-", "x?[2Jy", "unknown blob"]]
    found = {line["name"]: line for line in store.lines("list")}
    assert {name: line["state"] for name, line in found.items()} == {row[0]: row[4] for row in rows[1:]}
    assert found["good"]["manifest"] == json.loads(store.manifest("good").read_text())
    assert (found["good"]["blob_path"], found["good"]["blob_bytes"]) == (str(store.blob(good)), len(good))
    assert (found["missing"]["blob_bytes"], found["cut"]["blob_bytes"]) == (None, 5)
    assert found["broken"]["manifest"] is None and "broken.json" in found["broken"]["error"]
    assert all(found[name]["manifest"]["schema_version"] == 1 for name in ("cut", "good", "missing", "other"))


# import

def test_import_says_how_and_what_to_write(store):
    """Once as reflink or hard link, then the store has it; the second name shares the blob."""
    data = content(1)
    file = store.place.base / "tiny.gguf"
    file.write_bytes(data)
    told = store.ctl("import", file)
    assert told.stderr == "" and re.match(r"imported tiny, 98 KiB: (reflink|hard link) ", told.stdout), told
    assert f"sha256 {sha256(data)}\nblob {store.blob(data)}\n" in told.stdout
    snippet = json.loads("{" + told.stdout.splitlines()[-1].removeprefix("for the config file: ") + "}")["model"]
    assert snippet == {"name": "tiny", "sha256": sha256(data), "size_bytes": len(data), "source_url": "https://..."}
    assert store.blob(data).read_bytes() == data
    assert "the store had it already" in store.ctl("import", file, "--name", "second", "--sha256", sha256(data)).stdout
    assert [line["state"] for line in store.lines("list")] == ["ok", "ok"]
    assert len(store.blobs()) == 1
    done = store.lines("import", file)[-1]
    assert done == {"event": "done", "name": "tiny", "sha256": sha256(data), "bytes": len(data), "how": "was_there",
                    "path": str(store.blob(data))}


def test_import_from_another_file_system_copies(store):
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == store.place.base.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    data, file = content(1), shm / f"inferd-test-{os.getpid()}.gguf"
    file.write_bytes(data)
    try:
        done = store.lines("import", file, "--name", "m")[-1]
    finally:
        file.unlink()
    assert done["how"] == "copy" and store.blob(data).read_bytes() == data


def test_import_of_what_it_should_not_be_changes_nothing(store):
    """Another digest, a folder, a file that is not there."""
    file = store.place.base / "m.gguf"
    file.write_bytes(content(1))
    told = store.ctl("import", file, "--sha256", "0" * 64, code=2)
    assert told.stderr.startswith("error: ") and sha256(content(1)) in told.stderr and "0" * 64 in told.stderr
    assert "No such file" in store.ctl("import", "nowhere.gguf", code=2).stderr
    assert "not a regular file" in store.ctl("import", store.place.home, code=2).stderr
    assert store.blobs() == [] and list(store.root.glob("blobs/sha256/*")) == [] and store.lines("list") == []


# verify

def test_verify_finds_a_damaged_blob_and_says_what_to_do(store):
    """Exit code 1; nothing is moved; what it says mends it."""
    assert "no models" in store.ctl("verify").stderr
    good, data = content(1), content(2)
    store.take("good", good)
    blob = store.take("bad", data)
    assert store.ctl("verify").stdout == "[ ok ] bad: 98 KiB\n[ ok ] good: 98 KiB\n"
    damaged = bytes([data[0] ^ 1]) + data[1:]
    blob.write_bytes(damaged)
    bad, fine = store.ctl("verify", code=1).stdout.splitlines()
    assert bad.startswith(f"[FAIL] bad: {blob} ") and sha256(damaged) in bad and "inferdctl rm bad" in bad
    assert fine == "[ ok ] good: 98 KiB"
    assert blob.read_bytes() == damaged and store.quarantined() == []
    assert store.ctl("verify", "good").stdout == "[ ok ] good: 98 KiB\n"
    store.ctl("rm", "bad")
    store.take("bad", data)
    assert store.ctl("verify").stdout.count("[ ok ]") == 2


def test_verify_of_what_is_not_there(store):
    """A blob that is missing, a manifest that cannot be read, a name that is none."""
    store.take("gone", content(1)).unlink()
    assert "inferdctl pull" in store.ctl("verify", "gone", code=1).stdout
    store.manifest("gone").write_text("{")
    assert "inferdctl rm gone" in store.ctl("verify", code=1).stdout
    told = store.ctl("verify", "nobody", code=1)
    assert told.stdout.startswith("[FAIL] nobody: ") and "inferdctl list" in told.stdout


def test_verify_as_json(store):
    data = content(1)
    blob = store.take("m", data)
    *progress, done = store.lines("verify")
    assert [event["bytes"] for event in progress] == [0, len(data)] and {event["phase"] for event in progress} == {"verify"}
    assert done == {"event": "done", "name": "m", "state": "ok", "bytes": len(data), "message": ""}
    blob.write_bytes(content(2))
    done = store.lines("verify", code=1)[-1]
    assert done["state"] == "damaged" and str(blob) in done["message"]


# rm

def test_rm_keeps_a_blob_that_another_model_needs(store):
    data = content(1)
    blob = store.take("one", data)
    store.take("two", data)
    told = store.ctl("rm", "one")
    assert told.stdout.startswith("removed one; its blob stays: another model needs it") and blob.exists()
    assert store.lines("rm", "two") == [{"event": "done", "name": "two", "blob_removed": True, "kept_because": ""}]
    assert store.blobs() == [] and store.lines("list") == []
    told = store.ctl("rm", "two", code=2)
    assert told.stderr.startswith("error: there is no model two in ") and "inferdctl list" in told.stderr
    store.ctl("rm", "nobody", code=2)
    assert not list(store.root.glob("locks/nobody*"))  # nothing is made for a name that is none


def test_rm_keeps_a_blob_that_another_entry_of_the_config_file_names(store):
    data = content(1)
    blob = store.take("one", data)
    path = store.configure(model("two", data))
    told = store.ctl("rm", "one").stdout
    assert told.startswith("removed one; its blob stays: the config file names it")
    assert f"{path} still names it (as two)" in told and blob.exists()


def test_rm_and_gc_leave_a_blob_that_a_daemon_holds(store):
    """The daemon has a shared lock on the blob it loads from (store/model_store.h)."""
    data = content(1)
    blob = store.take("m", data)
    with blob.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        told = store.ctl("rm", "m")
        assert "its blob stays: a running daemon holds it" in told.stdout and "inferdctl gc" in told.stdout
        assert "nothing to delete" in store.ctl("gc", "--yes").stderr
        assert blob.exists()
    assert store.ctl("gc", "--yes").stdout.splitlines()[-1] == "deleted 1 of 1, 98 KiB"
    assert store.blobs() == []


def test_rm_says_that_the_config_file_still_names_the_model(store):
    data = content(1)
    store.take("m", data)
    path = store.configure(model("m", data))
    assert f"{path} still names it" in store.ctl("rm", "m").stdout


# gc

def asked_at_a_terminal(store, answer: str) -> subprocess.CompletedProcess:
    leader, follower = pty.openpty()
    try:
        os.write(leader, answer.encode())
        return subprocess.run([CTL, "gc"], env=store.place.env, stdin=follower, capture_output=True, text=True, timeout=DEADLINE)
    finally:
        os.close(follower)
        os.close(leader)


def test_gc_asks_first(store, orphan):
    """The list, then the question; only "y" or "yes" deletes."""
    for answer in ("n\n", "\n", "what?\n"):
        told = asked_at_a_terminal(store, answer)
        assert told.returncode == 1 and orphan.exists(), told
        assert told.stdout.split() == ["blob", "98", "KiB", str(orphan)]
        assert "delete 1 file, 98 KiB? [y/N] " in told.stderr and "nothing was deleted" in told.stderr
    told = asked_at_a_terminal(store, "y\n")
    assert told.returncode == 0 and not orphan.exists() and "deleted 1 of 1" in told.stdout, told


def test_gc_without_a_terminal_needs_yes(store, orphan):
    told = store.ctl("gc", code=2)
    assert str(orphan) in told.stdout and told.stderr.startswith("error: ") and "--yes" in told.stderr and orphan.exists()
    assert "1 file, 98 KiB would go" in store.ctl("gc", "--dry-run").stdout and orphan.exists()
    *garbage, done = store.lines("gc", "--yes")
    assert garbage == [{"event": "garbage", "kind": "blob", "bytes": 100_000, "path": str(orphan)}]
    assert done == {"event": "done", "deleted": 1, "bytes": 100_000, "kept": 0} and not orphan.exists()
    assert "nothing to delete" in store.ctl("gc").stderr


def test_gc_keeps_what_the_config_file_and_manifests_name(store, orphan):
    data = content(1)
    used = store.take("used", data)
    store.configure(model("m", content(9)))
    assert "nothing to delete" in store.ctl("gc", "--yes").stderr
    store.configure(model("m", content(8)))
    store.ctl("gc", "--yes")
    assert used.exists() and not orphan.exists()


def test_gc_does_not_guess_what_an_unreadable_manifest_needs(store, orphan):
    store.manifest("broken").write_text("{")
    told = store.ctl("gc", "--yes", code=2)
    assert "broken.json" in told.stderr and orphan.exists()


def test_gc_deletes_quarantined_files_and_unfinished_downloads(store):
    """Of models that the config file does not name."""
    partial = store.root / "blobs" / "sha256" / "00" / f".partial-{'0' * 64}" / "data.tmp"
    quarantined = store.root / "locks" / "quarantine" / "20250131T120000Z-sha-mismatch.bin"
    for file in (partial, quarantined):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"12345")
    assert {line["kind"] for line in store.lines("gc", "--dry-run")} == {"partial download", "quarantined file"}
    store.ctl("gc", "--yes")
    assert not partial.parent.exists() and not quarantined.exists()


# The command line

@pytest.mark.parametrize("args", [
    ("pull", "https://h/m.gguf"), ("pull", "--sha256", "0" * 64), ("pull", "--name", "m"), ("pull", "https://h/m.gguf", "--sha256", "xyz"),
    ("pull", "", "--sha256", "0" * 64), ("pull", "https://h/m", "--sha256", "0" * 64, "--name", ""), ("list", "x"), ("import",),
    ("import", ""), ("import", "x", "--sha256", "0"), ("verify", ""), ("rm",), ("rm", ""), ("rm", "a", "b"), ("gc", "x"), ("gc", "--what"),
    ("gc", "--yes", "--dry-run"), ("doctor", "x"), ("--config", "", "list"),
], ids=" ".join)
def test_a_usage_error_exits_2(store, args):
    told = store.ctl(*args, code=2)
    assert told.stdout == "" and told.stderr, told
    assert not store.root.exists()


@pytest.mark.parametrize("command", ["pull", "list", "import", "verify", "rm", "gc", "doctor"])
def test_help_tells_exit_codes_and_what_json_is(store, command):
    told = store.ctl(command, "--help").stdout
    assert "Exit codes:" in told and "With --json" in told
