"""`inferdctl doctor`: what it finds, and that each thing that is wrong says what to do (spec 07 §4)."""
import os

from store_place import content, model, orphan, store  # noqa: F401


def test_doctor_without_anything(store):
    """Spec 07 §4: no daemon is what is wrong; there is nothing to say about models yet."""
    found = store.checks()
    assert [label for _, label, _ in found] == ["config", "store", "logs", "sandbox", "admin"]
    marks = {label: mark for mark, label, _ in found}
    assert (marks["config"], marks["store"], marks["logs"], marks["admin"]) == ("warn", " ok ", " ok ", "FAIL")
    assert "start inferd-daemon" in found[-1][2]
    assert not store.root.exists()


def test_doctor_with_a_daemon(store, start):
    """Spec 07 §4: its status, and a line with the capabilities of each backend; exit code 0."""
    start()
    found = store.checks(code=0)
    assert found[-2] == (" ok ", "admin", "status=ready phase=-")
    mark, label, detail = found[-1]
    assert (mark, label) == (" ok ", "backend") and detail.startswith("backend=mock accelerator=cpu gpu_layers=0 ")
    names = [pair.split("=")[0] for pair in detail.split()]
    assert names == ["backend", "accelerator", "gpu_layers", "v2", "vision", "audio", "tools", "thinking", "embed", "name"]


def test_doctor_on_a_model_that_is_missing_and_then_there(store):
    """Missing; there under another name; then with a manifest, for which pull needs no network."""
    data = content(1)
    path = store.configure(model("m", data), auto_pull=False)
    found = store.checks()
    assert found[0] == (" ok ", "config", f"{path}, backends [llamacpp:entry0], auto_pull false")
    assert [(mark, label) for mark, label, _ in found[1:3]] == [("FAIL", "model[m]"), ("FAIL", "manifest[m]")]
    assert all("inferdctl pull" in detail for _, _, detail in found[1:3]) and str(store.blob(data)) in found[1][2]
    store.take("other", data)
    found = store.checks()
    assert found[1] == (" ok ", "model[m]", f"98 KiB at {store.blob(data)}")
    assert found[2][:2] == ("warn", "manifest[m]") and "does not need it" in found[2][2]
    assert store.lines("pull")[-1]["how"] == "verified"
    assert store.checks()[2] == (" ok ", "manifest[m]", str(store.manifest("m")))


def test_doctor_on_models_that_are_wrong(store):
    """A short blob, a manifest that cannot be read, one that names another blob: each with what to do."""
    short, broken, other = content(1), content(2), content(3)
    store.configure(model("short", short), model("broken", broken), model("other", other))
    os.truncate(store.take("short", short), 5)
    store.take("broken", broken)
    store.manifest("broken").write_text("{")
    store.take("other", content(4))
    store.take("third", other)
    found = {label: (mark, detail) for mark, label, detail in store.checks()}
    assert found["model[short]"][0] == "FAIL" and "inferdctl rm short" in found["model[short]"][1]
    assert found["manifest[broken]"][0] == "FAIL" and "inferdctl rm broken" in found["manifest[broken]"][1]
    assert found["manifest[other]"][0] == "warn" and "inferdctl pull" in found["manifest[other]"][1]
    assert found["garbage"][0] == "FAIL" and "broken.json" in found["garbage"][1]


def test_doctor_on_garbage_and_room(store, orphan):
    """A warning that names gc; models that cannot fit on the file system are wrong."""
    assert ("warn", "garbage", "1 file, 98 KiB that nothing needs: inferdctl gc") in store.checks()
    store.ctl("gc", "--yes")
    store.configure(model("m", content(1), size_bytes=1 << 60))
    found = {label: (mark, detail) for mark, label, detail in store.checks()}
    assert found["garbage"] == (" ok ", "none")
    assert found["store"][0] == "FAIL" and "models_home" in found["store"][1]


def test_doctor_on_a_wrong_config_file(store):
    """The rest is looked at all the same."""
    path = store.configure(model("m", b"") | {"sha256": "short"})
    found = store.checks()
    assert found[0][:2] == ("FAIL", "config") and str(path) in found[0][2] and "sha256" in found[0][2]
    assert found[-1][1] == "admin"
    store.configure(model("m", b""), auto_pul=False)
    assert ("warn", "config") in [(mark, label) for mark, label, detail in store.checks() if "auto_pull" in detail]


def test_doctor_on_secrets(store):
    """A key file that others may read is wrong; a variable may be set for the daemon alone. The key is not told."""
    key = store.place.base / "key"
    key.write_text("sesame\n")
    key.chmod(0o644)
    remote = {"kind": "openai-compat", "name": "far", "base_url": "https://far.example", "model": "m"}

    def secrets(**fields):
        store.configure(more=[remote | fields])
        found = {label: (mark, detail) for mark, label, detail in store.checks()}
        assert "sesame" not in str(found)
        return found["secrets"]
    mark, detail = secrets(api_key_file=str(key))
    assert mark == "FAIL" and f"chmod 600 {key}" in detail
    key.chmod(0o600)
    assert secrets(api_key_file=str(key))[0] == " ok "
    mark, detail = secrets(api_key_env="NO_SUCH_VARIABLE")
    assert mark == "warn" and "NO_SUCH_VARIABLE" in detail


def test_doctor_as_json(store):
    lines = store.lines("doctor", code=1)
    assert all(set(line) == {"check", "state", "detail"} for line in lines)
    assert lines[-1]["check"] == "admin" and lines[-1]["state"] == "fail"
