"""packaging/ and `make install`: the units as systemd reads them, the daemon and its engine inside of what they allow, and a tree that
was installed."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import daemon_process
from daemon_process import BIN_DIR
from llama_fixtures import ENGINE, llama_options

PACKAGING = Path(__file__).resolve().parents[2] / "packaging"
SERVICE = PACKAGING / "inferd.service"
UNITS = ("inferd.service", "inferd.socket", "inferd-admin.socket")
BUILD = BIN_DIR.parent
DRAIN_SECONDS = 30  # the default of --drain-timeout-secs
WORST_EXPOSURE = 20  # tenths

INSTALLED = """bin/inferd-daemon bin/inferdctl lib/systemd/system/inferd.service lib/systemd/system/inferd.socket
    lib/systemd/system/inferd-admin.socket lib/sysusers.d/inferd.conf lib/tmpfiles.d/inferd.conf share/inferd/config.schema.json
    share/inferd/config.example.json share/doc/inferd/README.md share/doc/inferd/service.md share/doc/inferd/configuration.md""".split()

# Becomes the command behind the names of the system calls that it and its children may make; the others are EPERM. Calls of another
# architecture too, so that the sandbox probe lives to tell of them. 65 is PR_SET_MDWE: what MemoryDenyWriteExecute= asks for.
CONFINE = """
import ctypes, os, sys
library, libc = ctypes.CDLL("libseccomp.so.2"), ctypes.CDLL(None)
library.seccomp_init.restype = ctypes.c_void_p
refuse, allow, bad_architecture = 0x50001, 0x7fff0000, 2
context = ctypes.c_void_p(library.seccomp_init(refuse))
assert library.seccomp_attr_set(context, bad_architecture, refuse) == 0
for name in sys.argv[1].split():
    number = library.seccomp_syscall_resolve_name(name.encode())
    assert number < 0 or library.seccomp_rule_add(context, allow, number, 0) == 0, name
assert library.seccomp_load(context) == 0
libc.prctl(65, 1, 0, 0, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


def systemd(tool: str, *args) -> subprocess.CompletedProcess:
    program = shutil.which(tool)
    if program is None:
        pytest.skip(f"{tool} is not there: no systemd on this machine")
    return subprocess.run([program, *map(str, args)], capture_output=True, text=True, timeout=60)


def settings(unit: Path) -> dict[str, str]:
    """The last value of each setting."""
    return dict(re.findall(r"^([A-Za-z]\w*)=(.*)$", unit.read_text(), re.M))


# The units.


def test_the_service_is_exposed_as_little_as_was_promised():
    told = systemd("systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={WORST_EXPOSURE}", SERVICE)
    print(told.stdout)
    assert told.returncode == 0 and "Overall exposure level" in told.stdout, told


def test_the_service_stops_later_than_the_daemon_has_drained():
    """README 12: nothing that runs is killed while it has time."""
    assert int(settings(SERVICE)["TimeoutStopSec"]) > DRAIN_SECONDS


def test_each_socket_unit_passes_one_surface_to_the_service():
    """README 15; os/service_manager.cc knows these names. Spec 05 §5, 04 §1: their modes."""
    found_names = {}
    for unit in sorted(PACKAGING.glob("*.socket")):
        found = settings(unit)
        assert unit.name in settings(SERVICE)["Sockets"].split()
        assert found.get("Service", unit.stem + ".service") == SERVICE.name
        assert unit.read_text().count("ListenStream=") == 1
        assert (found["SocketUser"], found["SocketGroup"]) == ("inferd", "inferd")
        found_names[found["FileDescriptorName"]] = (found["ListenStream"], found["SocketMode"])
    assert found_names == {"v1": ("/run/inferd/infer.sock", "0660"), "admin": ("/run/inferd/admin.sock", "0600")}


def test_user_and_folders_are_made_as_the_daemon_wants_them(place):
    """README 18: its runtime folder is its own, and the group can enter it."""
    if os.geteuid():
        pytest.skip("needs root, to give a folder to another user")
    root = place.base / "root"
    (root / "etc").mkdir(parents=True)
    for tool, file in (("systemd-sysusers", "inferd.sysusers"), ("systemd-tmpfiles", "inferd.tmpfiles")):
        told = systemd(tool, f"--root={root}", *(["--create"] if file == "inferd.tmpfiles" else []), PACKAGING / file)
        assert told.returncode == 0, told
    user = next(line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("inferd:"))
    runtime = (root / "run/inferd").stat()
    assert (runtime.st_uid, runtime.st_gid, runtime.st_mode & 0o7777) == (int(user[2]), int(user[3]), 0o750)
    assert user[5:] == ["/var/lib/inferd", "/usr/sbin/nologin"]


# What the service's filters leave to the programs.


def calls_of(names: list[str]) -> list[str]:
    """System calls of a SystemCallFilter=, groups (@...) written out."""
    found = []
    for name in names:
        if not name.startswith("@"):
            found.append(name)
            continue
        told = systemd("systemd-analyze", "syscall-filter", "--no-pager", name)
        assert told.returncode == 0, told
        found += calls_of([word.strip() for word in told.stdout.splitlines()[1:] if word.strip() and "#" not in word])
    return found


@pytest.fixture
def confined(place):
    """A command that becomes the one behind it, with the system calls of inferd.service."""
    place.env["ASAN_OPTIONS"] = place.env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"  # which needs ptrace()
    command = [sys.executable, "-Ic", CONFINE, " ".join(calls_of(settings(SERVICE)["SystemCallFilter"].split()))]
    tried = subprocess.run([*command, "/bin/true"], capture_output=True, text=True, timeout=60)
    if "libseccomp.so.2" in tried.stderr:
        pytest.skip("libseccomp.so.2 is not there")
    assert tried.returncode == 0, tried
    return command


@pytest.fixture
def need_engine():
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")


def verdicts(told: subprocess.CompletedProcess) -> list[str]:
    """What the probe said, without names and numbers that differ each time."""
    return [re.sub(r"probe-\w+|/proc/\d+", "X", line) for line in told.stdout.splitlines()]


def test_the_engine_closes_its_sandbox_inside_the_services(place, need_engine, confined):
    """Issue 5: seccomp() and the calls of Landlock are left to it, so nothing is missing that it has outside."""
    free, inside = (subprocess.run([*under, ENGINE, "--sandbox-probe"], env=place.env, capture_output=True, text=True, timeout=60,
                                   cwd=place.base) for under in ([], confined))
    assert (free.returncode, inside.returncode) == (0, 0), inside
    assert verdicts(inside) == verdicts(free)


def test_the_daemon_serves_inside_the_services_filter(start, confined):
    daemon = start(under=confined)
    assert daemon.connect().text() == "mock-response"
    daemon.stop()


def test_a_model_is_loaded_and_served_inside_the_services_filter(start, place, need_engine, confined):
    """Threads, the mapped model, the CPU variant: nothing needs a call or executable memory that the unit refuses."""
    from tiny_models import TinyModel
    model = TinyModel("full").write(place.base)
    daemon = start(*llama_options("--n-ctx", "256", model=model.path, sha256=model.sha256), under=confined)
    assert daemon.connect().ask("hello", max_tokens=4)[-1]["type"] == "done"


# What `make install` makes.


def install(prefix, destdir="") -> None:
    """As the Makefile does."""
    if shutil.which("cmake") is None or not (BUILD / "cmake_install.cmake").is_file():
        pytest.skip(f"no cmake, or {BUILD} is not its build tree: nothing can be installed from it")
    told = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], env=os.environ | {"DESTDIR": str(destdir)},
                          capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What a packager gets: everything below DESTDIR, for the prefix /usr."""
    root = tmp_path_factory.mktemp("root")
    install("/usr", destdir=root)
    return root


@pytest.fixture
def run(root, place):
    """Runs an installed program, with no other way to its libraries than its own."""
    place.env.pop("LD_LIBRARY_PATH", None)

    def run(program, *args, **env):
        return subprocess.run([root / "usr" / program, *args], env=place.env | env, capture_output=True, text=True, timeout=60,
                              cwd=place.base)
    return run


def test_everything_is_below_destdir_and_readable_for_all(root):
    assert [path.name for path in root.iterdir()] == ["usr"]
    missing = [path for path in INSTALLED if not (root / "usr" / path).is_file()]
    assert not missing
    for path in root.rglob("*"):
        assert not path.is_file() or path.stat().st_mode & 0o444 == 0o444, path


def test_installed_files_name_their_prefix(root):
    """Also where it is not the one that they are written with."""
    for path in (root / "usr/lib/systemd/system").iterdir():
        assert "/usr/local" not in path.read_text(), path
    assert settings(root / "usr/lib/systemd/system/inferd.service")["ExecStart"].split()[0] == "/usr/bin/inferd-daemon"
    example = json.loads((root / "usr/share/inferd/config.example.json").read_text())
    assert (root / example["$schema"].removeprefix("/")).is_file()


def test_installed_units_are_right_for_systemd(tmp_path):
    """Below a prefix that is really there: the programs are looked for too."""
    install(tmp_path)
    units = [tmp_path / "lib/systemd/system" / unit for unit in UNITS]
    told = systemd("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)
    assert told.returncode == 0 and "inferd" not in told.stdout + told.stderr, told


def test_installed_programs_run(run):
    for program in ("inferd-daemon", "inferdctl"):
        told = run(f"bin/{program}", "--version")
        assert told.returncode == 0 and told.stdout.startswith(program), told


def test_the_example_is_a_right_configuration(run, root):
    told = run("bin/inferd-daemon", "--check-config", "--config", str(root / "usr/share/inferd/config.example.json"))
    assert told.returncode == 0, told


def test_the_installed_engine_has_its_libraries_beside_it(run, root, need_engine):
    """An $ORIGIN rpath, not the path of the build."""
    told = run("lib/inferd/inferd-engine", LD_TRACE_LOADED_OBJECTS="1")
    found = dict(re.findall(r"^\s*(lib(?:llama|ggml)\S*) => (\S+)", told.stdout, re.M))
    assert {"libllama.so.0", "libggml.so.0"} <= set(found), told
    assert {Path(path).parent for path in found.values()} == {root / "usr/lib/inferd"}, told
    assert list((root / "usr/lib/inferd").glob("libggml-cpu-*.so"))


def test_the_installed_inferdctl_finds_the_engine(run, place, need_engine):
    """os::beside_or_lib(): it is not beside the programs, but in ../lib/inferd."""
    from tiny_models import TinyModel
    model = TinyModel("full").write(place.base)
    told = run("bin/inferdctl", "plan", str(model.path), "--n-ctx", "256")
    assert told.returncode == 0 and "fits" in told.stdout, told


def test_the_installed_daemon_finds_the_engine(start, root, place, need_engine, monkeypatch):
    """And serves with it."""
    from tiny_models import TinyModel
    monkeypatch.setattr(daemon_process, "DAEMON", root / "usr/bin/inferd-daemon")
    place.env.pop("LD_LIBRARY_PATH", None)
    model = TinyModel("full").write(place.base)
    daemon = start(*llama_options("--n-ctx", "256", model=model.path, sha256=model.sha256))
    assert daemon.connect().ask("hello", max_tokens=4)[-1]["type"] == "done"
