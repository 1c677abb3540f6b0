"""Config files that nobody would write, given to the real program: it says in one line what is wrong with which file,
or that it would start; it never crashes. Thousands more are read in src/config/hostile_config_test.cc."""
import copy
import json
import subprocess
from random import Random

from daemon_process import DAEMON, SANITIZER_MARKS
from wire import DEADLINE

FILES = 50
MODEL = {"name": "m", "sha256": "a" * 64, "source_url": "https://h/m", "source_urls": ["https://h2/m"], "size_bytes": 5}
RIGHT = {
    "auto_pull": True, "models_home": "~/m", "listen": {"tcp": None}, "limits": {"queue_depth": 3},
    "backends": [{"kind": "llamacpp", "name": "one", "model": MODEL, "n_ctx": 512, "parallel": 2, "sandbox": "auto"}]}
VALUES = [None, True, -1, 0, 1.5, 10**400, "", "x" * 100_000, "a\0b", "\ud800", "\u202e\x1b[2J", [], {}, [[]] * 70,
          RIGHT]
PIECES = [b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b",", b"{", b"]", b'"', b"//\n", b"1e999,", b"[" * 200]


def places(value, path=()):
    """Where a value may be replaced: every member and element, at every depth."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in members:
        yield *path, key
        yield from places(inner, (*path, key))


def drawn(random: Random) -> bytes:
    """A file with a wrong value or two, now and then with a field twice, cut, or with bytes that do not belong."""
    config = copy.deepcopy(RIGHT)
    for _ in range(random.randint(0, 2)):
        *path, last = random.choice(list(places(config)))
        owner = config
        for key in path:
            owner = owner[key]
        owner[last] = copy.deepcopy(random.choice(VALUES))
    text = json.dumps(config).encode()
    if random.random() < 0.2:
        text = text.replace(b'"auto_pull":', b'"auto_pull":1,"auto_pull":')
    if random.random() < 0.2:
        text = text[:random.randrange(len(text))]
    if random.random() < 0.3:
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice(PIECES) + text[at:]
    return text


def check(place, text: bytes) -> int:
    """The exit code of --check-config: 0, or 1 after a line that names the file."""
    path = place.base / "hostile.json"
    path.write_bytes(text)
    command = [DAEMON, "--check-config", "--config", path]
    told = subprocess.run(command, env=place.env, capture_output=True, timeout=DEADLINE)
    errors, shown = told.stderr.decode(), text[:2000]  # strict: no byte that is no UTF-8 may come through
    assert not any(mark in errors for mark in SANITIZER_MARKS), (shown, errors)
    assert told.returncode in (0, 1), (told.returncode, shown, errors)
    if told.returncode:
        assert errors.startswith("inferd-daemon: ") and errors.count("\n") == 1 and str(path) in errors, (shown, errors)
    assert len(errors) < 2000 and "x" * 200 not in told.stdout.decode() + errors
    return told.returncode


def test_the_program_says_what_is_wrong_or_would_start(place):
    random = Random(1)
    assert check(place, json.dumps(RIGHT).encode()) == 0
    assert [check(place, drawn(random)) for _ in range(FILES)].count(1) > FILES // 4
