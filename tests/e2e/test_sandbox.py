"""The engine's sandbox (architecture §4): `inferd-engine --sandbox-probe` enters it and tries every way out, a line for each."""
import os
import shutil
import subprocess

import pytest

from daemon_process import BIN_DIR

ENGINE = BIN_DIR / "inferd-engine"
STRANGER = 65534  # nobody
# Some of each kind, so that none can be lost from the list unseen.
WAYS_OUT = {"socket AF_INET", "socket in another thread", "connect to a TCP port", "open /etc/passwd to read", "list the home folder",
            "stat", "create a file in /tmp", "create a file in the home folder", "create a file below an O_PATH descriptor", "unlink",
            "execve", "execveat of a memfd", "fork", "clone without CLONE_THREAD", "clone3 of a process", "ptrace ATTACH to the parent",
            "process_vm_readv of the parent", "kill the parent with signal 0", "mmap with PROT_EXEC", "mprotect with PROT_EXEC", "shmget",
            "io_uring_setup", "bpf", "mount", "unshare CLONE_NEWUSER", "capset", "prctl PR_SET_DUMPABLE"}


@pytest.fixture
def probe(place):
    """Runs the probe; returns the exit code, and the names of the attempts by what became of them."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")

    def run(*args, engine=ENGINE, **options):
        told = subprocess.run([engine, "--sandbox-probe", *args], env=place.env, capture_output=True, text=True, timeout=60,
                              cwd=place.base, **options)
        print(told.stdout, told.stderr)
        assert told.stderr == ""
        found = {"refused": set(), "ALLOWED": set(), "works": set(), "BROKEN": set()}
        for line in told.stdout.splitlines()[1:]:
            verdict, name = line.split(maxsplit=1)
            found[verdict].add(name.split(" (")[0])
        return told.returncode, found
    return run


def is_closed(code, found):
    assert (code, found["ALLOWED"], found["BROKEN"]) == (0, set(), set())
    assert WAYS_OUT <= found["refused"] and len(found["refused"]) >= 140
    assert {"threads", "memory", "messages and descriptors on an open socket"} <= found["works"]


@pytest.mark.parametrize("mode", [(), ("--sandbox", "auto"), ("--sandbox", "required")], ids=" ".join)
def test_every_way_out_is_refused_and_the_engine_goes_on_working(probe, place, mode):
    """Files, network, programs, other processes, rights: also for root."""
    is_closed(*probe(*mode))
    assert list(place.home.iterdir()) == []


def test_every_way_out_is_refused_to_a_user_without_rights(probe, place):
    """Nothing of the sandbox needs root. The engine is copied to where the other user can run it."""
    if os.geteuid():
        pytest.skip("needs root, to run as another user; the other tests run as one without rights already")
    program = place.base / "bin" / ENGINE.name
    program.parent.mkdir()
    for file in (ENGINE, *BIN_DIR.glob("lib*.so.?")):
        shutil.copy(file, program.parent / file.name)
    place.env["LD_LIBRARY_PATH"] = str(program.parent)
    place.give_to(STRANGER)
    is_closed(*probe(engine=program, user=STRANGER, group=STRANGER, extra_groups=[]))


def test_the_probe_tells_an_open_door(probe, place):
    """Without the sandbox nearly all attempts succeed: the probe is able to fail, and does no harm then."""
    code, found = probe("--sandbox", "off")
    assert code == 1 and not found["BROKEN"]
    always = {"socket AF_INET", "open /etc/passwd to read", "create a file in /tmp", "create a file in the home folder", "unlink", "execve",
              "fork", "mmap with PROT_EXEC", "mprotect with PROT_EXEC", "kill the parent with signal 0"}
    assert always <= found["ALLOWED"] and len(found["ALLOWED"]) >= 80
    assert list(place.home.iterdir()) == []
