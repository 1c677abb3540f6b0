"""The engine that serves is in its sandbox (architecture §4), and says when the system cannot give all of it."""
import os
import re
import sys
from pathlib import Path

import pytest

from llama_fixtures import COUNT, ENGINE, engine_pid, greedy, llama, need_model, start_llama, tell, text_of  # noqa: F401


def rights(pid):
    """What /proc/PID/status says of a process's rights, and of each of its threads."""
    found = set()
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(re.findall(r"(\w+):\s+(.*)", status.read_text()))
        found.add(tuple(fields[name] for name in ("CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Seccomp")))
    return found


@pytest.fixture
def without_landlock(place):
    """An engine program on a kernel that, as far as it can see, has no Landlock."""
    need_model()
    program = place.base / "inferd-engine"
    program.write_text(f"""#!{sys.executable}
import ctypes, errno, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
filter = ctypes.c_void_p(library.seccomp_init(0x7FFF0000))  # allow
call = library.seccomp_syscall_resolve_name(b"landlock_create_ruleset")
assert library.seccomp_rule_add(filter, 0x00050000 | errno.ENOSYS, call, 0) == 0 and library.seccomp_load(filter) == 0
os.execv({str(ENGINE)!r}, sys.argv)
""")
    program.chmod(0o755)
    return str(program)


def test_every_thread_of_a_serving_engine_is_without_rights(llama):
    """No capabilities even for root, no way to gain any, a system-call filter: on all threads."""
    assert text_of(tell(llama, greedy(COUNT, max_tokens=4)))
    none = "0" * 16
    assert rights(engine_pid(llama)) == {(none, none, none, "1", "2")}
    assert not re.search("sandbox", llama.output, re.I), llama.output


def test_the_engines_files_and_memory_are_not_for_other_programs_of_the_same_user(llama):
    """PR_SET_DUMPABLE 0: no core dump holds callers' text; the files of /proc/PID are root's."""
    assert os.stat(f"/proc/{engine_pid(llama)}/mem").st_uid == 0


def test_a_required_sandbox_serves(start_llama):
    """The same, and an error if it were incomplete."""
    daemon = start_llama("--sandbox", "required")
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=4)))


def test_off_leaves_the_engine_as_it_is(start_llama):
    """For who has to debug it."""
    daemon = start_llama("--sandbox", "off")
    assert {entry[3:] for entry in rights(engine_pid(daemon))} == {("0", "0")}


def test_without_landlock_a_warning_says_so_and_the_rest_holds(start_llama, without_landlock):
    """Architecture §4: warn."""
    daemon = start_llama("--engine", without_landlock)
    daemon.told(r"warn.*Landlock")
    assert {entry[3:] for entry in rights(engine_pid(daemon))} == {("1", "2")}
    assert text_of(tell(daemon, greedy(COUNT, max_tokens=4)))


def test_without_landlock_a_required_sandbox_is_a_start_error(start_llama, without_landlock):
    """Architecture §4: --sandbox=required fails."""
    daemon = start_llama("--engine", without_landlock, "--sandbox", "required", ready=False)
    assert daemon.wait() == 1
    assert "Landlock" in daemon.output
