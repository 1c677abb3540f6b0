"""`inferdctl plan` and the daemon's own check before it loads (promise 6, README 10): numbers that add up, and a yes or a no."""
import json
import os
import shutil
import struct
import subprocess

import pytest

from daemon_process import CTL
from llama_fixtures import ENGINE, MODEL, engine_pid, llama_options, memory_mib, need_model, start_llama  # noqa: F401

MIB = 1 << 20
PARTS = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "host_cache_bytes")
TOO_MANY = "1000000000"  # cells: terabytes for any model
NOT_MODELS = {"empty": b"", "not GGUF": b"hello world" * 1000, "only the magic": b"GGUF",
              "huge counts": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60), "no tensors": b"GGUF" + struct.pack("<IQQ", 3, 0, 0)}


@pytest.fixture
def plan(place):
    """Runs `inferdctl plan`; --json where nothing else is said of the output."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")

    def run(*args, ctl=CTL):
        return subprocess.run([ctl, "plan", *map(str, args)], env=place.env, capture_output=True, text=True, timeout=60, cwd=place.base)
    return run


@pytest.fixture
def numbers(plan):
    """The plan of the model as an object."""
    need_model()

    def run(*args, fits=True):
        told = plan(MODEL, "--json", *args)
        assert (told.returncode, told.stderr) == (0 if fits else 1, ""), told
        assert told.stdout.count("\n") == 1 and told.stdout.endswith("}\n"), told.stdout
        found = json.loads(told.stdout)
        assert found["needed_bytes"] == min(sum(found[part] for part in PARTS), (1 << 64) - 1)
        assert found["fits"] is fits is (found["needed_bytes"] <= found["available_bytes"])
        return found
    return run


def test_a_person_reads_every_part_and_the_verdict(plan):
    """Promise 6: weights + KV + buffers and yes or no."""
    need_model()
    told = plan(MODEL)
    assert (told.returncode, told.stderr) == (0, ""), told
    rows = {line[:12].strip(): line[13:] for line in told.stdout.splitlines()}
    assert list(rows) == ["model", "context", "weights", "KV cache", "compute", "host cache", "needed", "available", "verdict"]
    assert str(MODEL) in rows["model"] and rows["verdict"] == "fits"
    assert all("iB" in rows[part] for part in ("weights", "KV cache", "compute", "host cache", "needed", "available"))


def test_the_numbers_add_up_and_follow_the_sizes(numbers):
    """README 10: the defaults; twice the cells are twice the KV cache; the weights do not depend on it."""
    usual = numbers()
    assert usual["sequences"] == 8 and usual["host_cache_bytes"] == 512 * MIB
    assert usual["kv_cells"] == max(usual["n_ctx"], min(8 * usual["n_ctx"], 16384))
    assert 0.5 * MODEL.stat().st_size < usual["weights_bytes"] <= MODEL.stat().st_size
    assert min(usual[part] for part in PARTS) > 0 and usual["limited_by"]
    small, large = (numbers("--n-ctx", 1024, "--kv-cells", cells, "--parallel", 4, "--host-cache-bytes", 0) for cells in (2048, 4096))
    assert (small["n_ctx"], small["kv_cells"], small["sequences"], small["host_cache_bytes"]) == (1024, 2048, 4, 0)
    assert large["kv_cache_bytes"] == 2 * small["kv_cache_bytes"]
    assert large["weights_bytes"] == small["weights_bytes"] == usual["weights_bytes"]
    assert small["compute_bytes"] <= large["compute_bytes"]


@pytest.mark.parametrize("args", [("--kv-cells", TOO_MANY), ("--n-ctx", TOO_MANY), ("--host-cache-bytes", str((1 << 64) - 1))], ids=" ".join)
def test_what_does_not_fit_is_told_with_both_numbers(plan, numbers, args):
    """Promise 6: planned without allocating it; no sum wraps around."""
    found = numbers(*args, fits=False)
    assert found["needed_bytes"] > 1 << 40
    told = plan(MODEL, *args)
    assert told.returncode == 1 and told.stderr == "", told
    verdict = told.stdout.splitlines()[-1]
    assert verdict.startswith("verdict") and "does not fit" in verdict
    for word in ("the model needs", "TiB", "available are", found["limited_by"], "--kv-cells", "--n-ctx", "--host-cache-bytes"):
        assert word in verdict, verdict


def test_the_kv_cache_is_what_an_engine_takes(start_llama, numbers):
    """Promise 6: the plan is about this engine: memory of two pools apart by 10240 cells."""
    planned, resident = [], []
    for cells in ("2048", "12288"):
        planned.append(numbers("--kv-cells", cells)["kv_cache_bytes"] / MIB)
        daemon = start_llama("--kv-cells", cells)
        resident.append(memory_mib(engine_pid(daemon), "VmHWM"))
        daemon.stop()
    assert resident[1] - resident[0] == pytest.approx(planned[1] - planned[0], rel=0.1)


@pytest.mark.parametrize("content", NOT_MODELS.values(), ids=NOT_MODELS)
def test_a_file_that_is_no_model_is_named(plan, place, content):
    """Exit 1 and one line about it, also for scripts; llama.cpp's own chatter is not shown."""
    model = place.base / "model.gguf"
    model.write_bytes(content)
    for flag in ((), ("--json",)):
        told = plan(model, *flag)
        assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1), told
        assert str(model) in told.stderr and "GGUF" in told.stderr, told


@pytest.mark.parametrize("share", [0.01, 0.9], ids=["in its description", "in its tensors"])
def test_a_model_that_is_cut_short_is_named(plan, place, share):
    """Exit 1, not a plan for what is left of it."""
    need_model()
    model = place.base / "model.gguf"
    with MODEL.open("rb") as whole:
        model.write_bytes(whole.read(int(MODEL.stat().st_size * share)))
    told = plan(model)
    assert (told.returncode, told.stdout) == (1, ""), told
    assert str(model) in told.stderr and "cut short" in told.stderr, told


def test_what_is_no_file_is_named(plan, place):
    """Absent, a folder, and a pipe, which is not waited for."""
    os.mkfifo(place.base / "pipe")
    for name, says in (("nowhere.gguf", "No such file"), ("home", "not a regular file"), ("pipe", "not a regular file"),
                       ("--json.gguf", "No such file")):
        told = plan("--", name)
        assert (told.returncode, told.stdout) == (1, ""), told
        assert f"{name}: " in told.stderr and says in told.stderr, told


@pytest.mark.parametrize("args", [(), ("",), ("m", "--n-ctx", "x"), ("m", "--n-ctx", "-1"), ("m", "--kv-cells", "0"), ("m", "--parallel", "129"),
                                  ("m", "--host-cache-bytes", "18446744073709551616"), ("m", "--what")], ids=" ".join)
def test_a_usage_error_exits_2(plan, args):
    told = plan(*args)
    assert (told.returncode, told.stdout) == (2, "") and told.stderr, told


def test_a_build_without_an_engine_says_so(plan, place):
    """The engine is looked for beside the program that runs."""
    alone = shutil.copy(CTL, place.base)
    told = plan("m.gguf", ctl=alone)
    assert told.returncode == 1 and str(place.base / "inferd-engine") in told.stderr, told


def test_a_daemon_does_not_start_with_what_cannot_fit(start):
    """Promise 6: a start error with the numbers, before the context is made."""
    need_model()
    start.fails(*llama_options("--kv-cells", TOO_MANY), says=("the model needs", "TiB", "available are", "--kv-cells"))
