"""Reads every #include of src/, apps/, include/ and bench/ and fails on an arrow that is not in the table of architecture §2.

Checked: which folder includes which (arrows are transitive), that names resolve from src/ or include/, cycles between folders and
between headers, that llama.cpp is seen by src/engine/ alone, that headers of the operating system are seen by src/os/ alone (with
the exceptions listed below), and that CMake's DEPENDS say the same. Run: pytest tests/include_test.py, or python3 tests/include_test.py
"""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = "include/inferd"

# Folder -> folders that it may include directly, and with each all that that one may include. Names are below src/.
TABLE = {
    PUBLIC: [],  # what other programs include: nothing of ours
    "base": [],
    "request": ["base"],
    "os": ["base"],
    "observe": ["base", "request", "os"],
    "wire": ["base", "request"],
    "config": ["base", "os"],
    "http": ["base", "os"],
    "store": ["base", "os", "observe", "http"],
    "engine_wire": ["base", "request"],
    "engine": ["engine_wire", "os"],
    "backend": ["request", "observe"],
    "backend/mock": ["backend", "os"],
    "backend/llamacpp": ["backend", "os", "engine_wire"],
    "backend/openai": ["backend", "http"],
    "backend/bedrock": ["backend", "http"],
    "schedule": ["backend"],
    "session": ["wire", "os", "schedule", "observe"],
    "daemon": ["session", "schedule", "backend/mock", "backend/llamacpp", "backend/openai", "backend/bedrock", "backend",
               "engine_wire", "store", "http", "config", "wire", "observe", "os", "request", "base"],  # all but engine
    "client": [PUBLIC, "wire", "os"],
    "ctl": ["client", "store", "config", "http"],
    "apps/inferd-daemon": ["config", "daemon"],
    "apps/inferd-engine": ["engine"],
    "apps/inferdctl": ["config", "ctl"],
    "bench": ["engine"],  # step_bench links the step loop; the floor and the load generator measure us from outside
}
TEST_TABLE = {"schedule": ["backend/mock"]}  # what a folder's foo_test.cc may include besides

# Where the library llama.cpp may be seen.
LLAMA = re.compile(r"(llama|ggml|gguf|mtmd|clip)([-_.].*)?\.h(pp)?$|(common|chat|sampling|speculative|arg|log|json|json-schema"
                   r"|json-schema-to-grammar|json-partial|peg-parser|ngram-.*|chat-.*|unicode|download|console|regex-partial)\.h$"
                   r"|(common|jinja|parsers|nlohmann|minja)/")
LLAMA_FOLDERS = ["engine"]

# Headers of other libraries and of ISO C; every other <name.h> is the operating system's, and so is Boost.Asio.
LIBRARY = re.compile(r"(CLI|boost|fmt|spdlog|re2|openssl|curl|gtest|gmock|benchmark)/|(png|turbojpeg|sndfile)\.h$")
ISO_C = set("assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h limits.h locale.h math.h setjmp.h stdalign.h stdarg.h "
            "stdatomic.h stdbool.h stddef.h stdint.h stdio.h stdlib.h string.h tgmath.h time.h uchar.h wchar.h wctype.h".split())
OS_FOLDERS = ["os", "bench"]  # bench: programs that share no code with what they measure

# The files outside src/os/ that see the operating system today: their headers, and why. One that is no longer needed is an error.
OS_EXCEPTIONS = {
    "src/backend/llamacpp/llamacpp_backend.cc": (
        ["fcntl.h", "unistd.h"], "duplicates descriptors of the engine's process, makes its socket non-blocking, reads its stderr"),
    "src/config/config_file_test.cc": (["sys/stat.h"], "makes a named pipe"),
    "src/engine/cpu_variant.cc": (["dlfcn.h"], "asks a CPU variant for its score before ggml loads it"),
    "src/engine/engine_process.cc": (
        ["fcntl.h", "pthread.h", "signal.h", "unistd.h"], "where stdout and stderr go, stack size of prepare threads, _exit past destructors"),
    "src/engine/named_descriptor.cc": (["dlfcn.h"], "calls the C library's fopen() behind its own"),
    "src/engine/random_text.cc": (["sys/random.h"], "random marks that a caller cannot guess"),
    "src/observe/activity_log_test.cc": (["sys/stat.h"], "looks at modes of files"),
    "src/store/digest_test.cc": (["sys/mman.h", "unistd.h"], "a file in memory"),
    "apps/inferd-engine/main.cc": (["fcntl.h"], "is the daemon's channel there? else a person started it"),
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.M)
SOURCES = ("*.cc", "*.h", "*.cpp", "*.hpp", "*.c")


def reachable(graph: dict, start: str) -> set:
    """Everything that can be reached from `start`, without itself unless there is a cycle."""
    found, todo = set(), list(graph.get(start, []))
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += graph.get(node, [])
    return found


def cycle(graph: dict) -> list:
    """One cycle of the graph as a list of nodes, or []."""
    done: set = set()
    for start in graph:
        path, waiting = [], [(start, False)]
        while waiting:
            node, leave = waiting.pop()
            if leave:
                path.pop()
                done.add(node)
            elif node in path:
                return path[path.index(node):] + [node]
            elif node not in done:
                path.append(node)
                waiting.append((node, True))
                waiting += [(next_, False) for next_ in graph.get(node, [])]
    return []


def folder_of(path: str) -> str:
    """The row of the table that a file belongs to, or the folder that has none. Deeper folders belong to their library."""
    parts = path.split("/")[:-1]
    if parts[:1] == ["src"]:
        parts = parts[1:]
    for length in range(len(parts), 0, -1):
        folder = "/".join(parts[:length])
        if folder in TABLE:
            # backend/<new> is a library of its own, not a part of backend.
            return "/".join(parts[:2]) if folder == "backend" and len(parts) > 1 else folder
    return "/".join(parts) or "."


def resolve(name: str, files: dict) -> str | None:
    """The file that #include "name" means: names start at src/ or include/."""
    return next((path for path in (f"src/{name}", f"include/{name}") if path in files), None)


def problems(files: dict, cmake: dict | None = None, exceptions: dict | None = None, seen: dict | None = None) -> list:
    """What is wrong with the tree `files` (path -> text). `cmake`: library -> (DEPENDS, TEST_DEPENDS). `seen` gets the arrows."""
    exceptions = OS_EXCEPTIONS if exceptions is None else exceptions
    found, arrows, headers, used = [], {}, {}, {}
    for path, text in sorted(files.items()):
        folder, is_test = folder_of(path), path.rsplit(".", 1)[0].endswith("_test")
        if folder not in TABLE:
            found.append(f"{path}: folder `{folder}` is not in the table")
            continue
        extra = TEST_TABLE.get(folder, []) if is_test else []
        allowed = {folder} | reachable(TABLE, folder) | set(extra) | {f for e in extra for f in reachable(TABLE, e)}
        for quote, name in INCLUDE.findall(text):
            here = f'{path}: #include {quote}{name}{">" if quote == "<" else quote}'
            if LLAMA.match(name) and resolve(name, files) is None:
                if folder not in LLAMA_FOLDERS:
                    found.append(f"{here}: llama.cpp is seen by src/{LLAMA_FOLDERS[0]}/ alone")
                continue
            if quote == "<":
                if resolve(name, files):
                    found.append(f"{here}: a header of ours, in angle brackets")
                elif (name.endswith(".h") and name not in ISO_C and not LIBRARY.match(name)) or name.startswith("boost/asio"):
                    used.setdefault(path, set()).add(name)
                    if folder not in OS_FOLDERS and name not in exceptions.get(path, ([], ""))[0]:
                        found.append(f"{here}: the operating system is seen by src/os/ alone")
                continue
            target = resolve(name, files)
            if target is None:
                found.append(f"{here}: no such file below src/ or include/ (names start there)")
                continue
            to = folder_of(target)
            headers.setdefault(path, []).append(target)
            if to != folder:
                arrows.setdefault(folder, set()).add(to)
            if to not in allowed:
                found.append(f"{here}: `{folder}` may not include `{to}`; it may include {', '.join(sorted(allowed - {folder})) or 'nothing'}")
            elif cmake is not None and folder in cmake and to != folder and to != PUBLIC:
                graph = {library: depends for library, (depends, _) in cmake.items()}
                tests = cmake[folder][1] if is_test else []
                if to not in reachable(graph, folder) | set(tests) | {f for t in tests for f in reachable(graph, t)}:
                    found.append(f"{here}: src/{folder}/CMakeLists.txt does not depend on `{to}`")
    for what, graph in (("files", headers), ("folders", {f: sorted(t) for f, t in arrows.items()})):
        if around := cycle(graph):
            found.append(f"a cycle of {what}: {' -> '.join(around)}")
    for path, (names, _) in exceptions.items():
        for name in names:
            if name not in used.get(path, ()):
                found.append(f"{path}: <{name}> is listed as an exception and not included: take it out of the list")
    for library, (depends, _) in (cmake or {}).items():
        for depend in depends:
            if depend not in TABLE:
                found.append(f"src/{library}/CMakeLists.txt: DEPENDS `{depend}` is not in the table")
            elif depend not in reachable(TABLE, library):
                found.append(f"src/{library}/CMakeLists.txt: `{library}` may not depend on `{depend}`")
    if seen is not None:
        seen.update(arrows)
    return found


def read_tree() -> dict:
    paths = [p for top in ("src", "apps", "include", "bench") for glob in SOURCES for p in (ROOT / top).rglob(glob)]
    return {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in paths}


def read_cmake() -> dict:
    """Library's folder -> (DEPENDS, TEST_DEPENDS), from every inferd_library() call."""
    found = {}
    for path in (ROOT / "src").rglob("CMakeLists.txt"):
        for words in re.findall(r"^inferd_library\(([^)]*)\)", path.read_text(), re.M):
            name, *rest = words.split()
            lists: dict = {"": []}
            key = ""
            for word in rest:
                if word in ("DEPENDS", "EXTERNAL", "TEST_DEPENDS"):
                    key = word
                lists.setdefault(key, []).append(word)
            folders = {k: [w.replace("backend_", "backend/", 1) for w in v[1:]] for k, v in lists.items()}
            found[name.replace("backend_", "backend/", 1)] = (folders.get("DEPENDS", []), folders.get("TEST_DEPENDS", []))
    return found


def test_the_table_itself_keeps_the_rules():
    """Architecture §1, §2: no cycle; backends know neither each other nor the wire; nothing but the engine's program reaches the
    engine, and a benchmark; the public headers and base include nothing of ours."""
    assert cycle(TABLE) == []
    assert {to for row in TABLE.values() for to in row} <= set(TABLE)
    backends = [f for f in TABLE if f.startswith("backend/")]
    for folder in backends:
        assert not reachable(TABLE, folder) & {*backends, "wire", "session", "schedule"}, folder
    assert [f for f in TABLE if "engine" in reachable(TABLE, f)] == ["apps/inferd-engine", "bench"]
    for folder in (PUBLIC, "base"):
        assert TABLE[folder] == []


def test_every_include_follows_the_table():
    """Architecture §2: "A test reads every #include and fails on an arrow that is not in the table"."""
    files, seen = read_tree(), {}
    assert len(files) > 50, f"only {len(files)} sources below {ROOT}"
    found = problems(files, read_cmake(), seen=seen)
    print(f"{len(files)} files, {sum(len(INCLUDE.findall(t)) for t in files.values())} includes; arrows between folders:")
    for folder, to in sorted(seen.items()):
        print(f"  {folder} <- {' '.join(sorted(to))}")
    print(f"{len(OS_EXCEPTIONS)} files outside src/os/ see the operating system:")
    for path, (names, why) in sorted(OS_EXCEPTIONS.items()):
        print(f"  {path}: {' '.join(names)}: {why}")
    assert not found, f"{len(found)} wrong:\n" + "\n".join(found)


def expect(says: str, cmake: dict | None = None, exceptions: dict | None = None, **tree: str) -> None:
    """The made-up tree has exactly the problem that `says` is part of; "" is none. `a__b_h` stands for src/a/b.h."""
    files = {"src/" + re.sub(r"_(h|cc)$", r".\1", name).replace("__", "/"): text for name, text in tree.items()}
    for name in ("base/error.h", "request/generate.h", "os/asio.h", "backend/backend.h", "wire/v1_codec.h"):
        files.setdefault(f"src/{name}", "")
    found = problems(files, cmake, exceptions or {})
    assert (not found) if not says else (len(found) == 1 and says in found[0]), (says, found)


def test_the_check_sees_what_is_wrong():
    expect("")
    expect("", session__a_cc='#include "base/error.h"\n#include "session/a.h"\n', session__a_h='  #  include "wire/v1_codec.h"\n')
    expect("", schedule__a_test_cc='#include "backend/mock/mock.h"\n', backend__mock__mock_h="")
    expect("", engine__a_cc="#include <llama.h>\n#include <ggml-cpu.h>\n#include <chat.h>\n#include <common/sampling.h>\n")
    expect("", os__a_cc="#include <sys/socket.h>\n#include <boost/asio/post.hpp>\n")
    expect("", base__a_cc="#include <string>\n#include <stdlib.h>\n#include <fmt/core.h>\n#include <boost/json.hpp>\n")
    expect("", daemon__a_cc="#include <fcntl.h>\n", exceptions={"src/daemon/a.cc": (["fcntl.h"], "why")})
    # Arrows.
    expect("`base` may not include `os`", base__a_cc='#include "os/asio.h"\n')
    expect("`schedule` may not include `wire`", schedule__a_cc='#include "wire/v1_codec.h"\n')
    expect("`schedule` may not include `backend/mock`", schedule__a_cc='#include "backend/mock/mock.h"\n', backend__mock__mock_h="")
    expect("`backend/mock` may not include `wire`", backend__mock__a_cc='#include "wire/v1_codec.h"\n')
    expect("`backend/mock` may not include `backend/llamacpp`", backend__mock__a_cc='#include "backend/llamacpp/b.h"\n',
           backend__llamacpp__b_h="")
    expect("`backend` may not include `backend/mock`", backend__a_cc='#include "backend/mock/mock.h"\n', backend__mock__mock_h="")
    expect("`daemon` may not include `engine`", daemon__a_cc='#include "engine/b.h"\n', engine__b_h="")
    expect("`engine` may not include `backend`", engine__a_cc='#include "backend/backend.h"\n')
    found = problems({"include/inferd/client.h": '#include "base/error.h"\n', "src/base/error.h": ""}, exceptions={})
    assert len(found) == 1 and "`include/inferd` may not include `base`" in found[0], found
    # Names and folders.
    expect("folder `util` is not in the table", util__a_h="")
    expect("folder `backend/other` is not in the table", backend__other__a_h="")
    expect("no such file", base__a_cc='#include "error.h"\n')
    expect("no such file", base__a_cc='#include "../base/error.h"\n')
    expect("in angle brackets", request__a_cc="#include <base/error.h>\n")
    # Cycles.
    expect("a cycle of files: src/base/a.h -> src/base/b.h -> src/base/a.h", base__a_h='#include "base/b.h"\n',
           base__b_h='#include "base/a.h"\n')
    # Libraries.
    expect("llama.cpp is seen by src/engine/ alone", daemon__a_cc="#include <llama.h>\n")
    expect("llama.cpp is seen by src/engine/ alone", wire__a_cc="#include <nlohmann/json.hpp>\n")
    expect("llama.cpp is seen by src/engine/ alone", backend__llamacpp__a_cc='#include "ggml-backend.h"\n')
    for name in ("unistd.h", "sys/socket.h", "fcntl.h", "signal.h", "termios.h", "netinet/tcp.h", "boost/asio.hpp"):
        expect("the operating system is seen by src/os/ alone", session__a_cc=f"#include <{name}>\n")
    expect("take it out of the list", daemon__a_cc="", exceptions={"src/daemon/a.cc": (["fcntl.h"], "why")})
    # CMake.
    cmake = {"wire": (["base", "request"], []), "session": (["wire"], []), "request": (["base"], []), "base": ([], [])}
    expect("", cmake, session__a_cc='#include "base/error.h"\n')
    expect("src/session/CMakeLists.txt does not depend on `os`", cmake, session__a_cc='#include "os/asio.h"\n')
    expect("`wire` may not depend on `os`", {"wire": (["os"], [])})
    expect("DEPENDS `util` is not in the table", {"wire": (["util"], [])})


if __name__ == "__main__":
    import sys

    failed = 0
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            try:
                test()
                print(f"ok    {name}")
            except AssertionError as wrong:
                failed += 1
                print(f"WRONG {name}\n{wrong}")
    sys.exit(1 if failed else 0)
