"""`inferdctl embed`: JSON lines in, JSON lines out. Against the daemon on the mock backend (spec 08 §2: the i-th number of a vector is i+1 by
the bytes of the text and one), and against a peer that says what no mock does."""
import json
import signal
import struct
import subprocess

import pytest

from ctl_process import Peer, begun, ctl, ended, error, sleeps
from daemon_process import free_port
from wire import DEADLINE

TOO_LONG = 8 * 1024 * 1024 + 1


def single(value: float) -> float:
    """As a 32-bit float."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def mock_vector(text: str, dimensions: int = 8) -> list[float]:
    return [single((i + 1) / (len(text.encode()) + 1)) for i in range(dimensions)]


def vectors(output: str) -> list[list[float]]:
    """Of lines that have an index and a vector and nothing else; the indexes count from 0."""
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line.pop("index") for line in lines] == list(range(len(lines)))
    assert all(list(line) == ["embedding"] for line in lines)
    return [[single(number) for number in line["embedding"]] for line in lines]


def embeddings(*rows: list[float]) -> dict:
    return {"type": "embeddings", "id": "", "embeddings": rows, "dimensions": len(rows[0]), "model": "m", "usage": {"input_tokens": 1},
            "backend": "mock", "route": "mock"}


@pytest.fixture
def daemon(start):
    return start("--embed")


@pytest.fixture
def peer(place):
    """Makes a peer at the default place of embed."""
    made = []

    def go(*answers):
        made.append(Peer(place.runtime / "infer.embed.sock", *answers))
        return made[-1]
    yield go
    for each in made:
        each.close()


def test_lines_of_strings(daemon):
    """A vector for each, in order; blank lines and a missing last line end are no matter."""
    got = ctl(daemon.place, "embed", stdin='"a"\n"two words"\n\n  \n"Wärme \\u2603"')
    assert (got.returncode, got.stderr) == (0, ""), got
    assert vectors(got.stdout) == [mock_vector(text) for text in ("a", "two words", "Wärme ☃")]


def test_ids_come_back_as_they_are(daemon):
    """Of any type, in front of the index; lines without one have none."""
    got = ctl(daemon.place, "embed", stdin='{"id":"x","text":"a"}\n{"text":"b"}\n"c"\n{"text":"d","id":{"z":[1,null]},"more":1}\n')
    assert got.returncode == 0, got
    lines = [json.loads(line) for line in got.stdout.splitlines()]
    assert [list(line)[:-2] for line in lines] == [["id"], [], [], ["id"]]
    assert all(list(line)[-2:] == ["index", "embedding"] for line in lines)
    assert (lines[0]["id"], lines[3]["id"]) == ("x", {"z": [1, None]})
    assert [line["index"] for line in lines] == [0, 1, 2, 3]


def test_lines_of_plain_text(daemon):
    """What looks like JSON is text, too."""
    texts = ['"quoted"', "Wärme ☃", " "]
    got = ctl(daemon.place, "embed", "--text", stdin="\n".join(texts) + "\n")
    assert got.returncode == 0 and vectors(got.stdout) == [mock_vector(text) for text in texts], got


def test_no_lines_are_no_vectors(daemon):
    """Exit code 0."""
    assert ctl(daemon.place, "embed").returncode == 0
    assert ctl(daemon.place, "embed", stdin="\n\n").stdout == ""


def test_ten_thousand_lines_come_out_in_order(daemon):
    """Over many requests."""
    texts = [str(n) for n in range(10_000)]
    got = ctl(daemon.place, "embed", stdin="".join(f'{{"id":{text},"text":"{"x" * (int(text) % 97 + 1)}"}}\n' for text in texts))
    lines = [json.loads(line) for line in got.stdout.splitlines()]
    assert got.returncode == 0 and [line["id"] for line in lines] == [line["index"] for line in lines] == list(range(10_000))
    assert all(single(line["embedding"][0]) == single(1 / (line["id"] % 97 + 2)) for line in lines)


def test_dimensions(daemon):
    """Passed on; the daemon's bound is its own."""
    got = ctl(daemon.place, "embed", "--dimensions", "3", stdin='"a"\n')
    assert got.returncode == 0 and vectors(got.stdout) == [mock_vector("a", 3)], got
    got = ctl(daemon.place, "embed", "--dimensions", "65537", stdin='"a"\n')
    assert got.returncode == 4 and "65537" in got.stderr and "line 1" in got.stderr, got


def test_what_a_request_holds(place, peer):
    """`--batch` lines, the task, nothing that was not given."""
    there = peer([embeddings([1.0], [2.0])], [embeddings([3.0])], [embeddings([4.0])])
    got = ctl(place, "embed", "--batch", "2", "--task", "retrieval_query", "--dimensions", "1", stdin='"a"\n"b"\n"c"\n')
    assert got.returncode == 0 and vectors(got.stdout) == [[1.0], [2.0], [3.0]], got
    settings = {"dimensions": 1, "task": "retrieval_query"}
    assert there.requests == [{"input": ["a", "b"]} | settings, {"input": ["c"]} | settings]
    assert ctl(place, "embed", stdin='"a"\n').returncode == 0
    assert there.requests[2] == {"input": ["a"]}


def test_numbers_keep_all_their_digits(place, peer):
    """The shortest text of each 32-bit float."""
    numbers = [0.1, -0.0, 1.0, 16777216.0, 1e-07, 3.4028235e38, 1e-45, -0.33333334]
    peer([embeddings(numbers)])
    got = ctl(place, "embed", stdin='"a"\n')
    assert vectors(got.stdout) == [[single(number) for number in numbers]]
    assert "0.1,-0" in got.stdout and "0.33333334" in got.stdout


def test_a_line_is_answered_before_the_next_one_is_there(daemon):
    """With `--batch 1`, as a program needs it that talks through pipes."""
    process = begun(daemon.place, "embed", "--batch", "1", stdin=subprocess.PIPE)
    for n, text in enumerate(("a", "bc", "def")):
        process.stdin.write(json.dumps(text) + "\n")
        process.stdin.flush()
        line = json.loads(process.stdout.readline())
        assert line["index"] == n and len(line["embedding"]) == 8
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("line, says", [
    ("plain", "--text"), ("7", "expected a JSON string"), ('["a"]', "expected a JSON string"), ("{}", "`text`"), ('{"text":5}', "`text`"),
    ('""', "empty"), ('{"text":""}', "empty"), ('"a" "b"', "not JSON"), (b'"\xff"', "not JSON"),
], ids=str)
def test_a_wrong_line_is_named(daemon, line, says):
    """By its number, with what was expected; what came before it is answered, exit code 2."""
    bad = line if isinstance(line, bytes) else line.encode()
    got = ctl(daemon.place, "embed", stdin=b'"a"\n\n"b"\n' + bad + b'\n"c"\n')
    assert got.returncode == 2 and "line 4: " in got.stderr and says in got.stderr, got
    assert vectors(got.stdout) == [mock_vector("a"), mock_vector("b")]


@pytest.mark.parametrize("line, says", [(b"", "empty"), (b"\xc3\x28", "UTF-8")], ids=["empty", "not UTF-8"])
def test_a_wrong_line_of_plain_text_is_named(daemon, line, says):
    """Lines and vectors could not be matched any more if it were skipped."""
    got = ctl(daemon.place, "embed", "--text", stdin=b"a\n" + line + b"\nb\n")
    assert got.returncode == 2 and "line 2: " in got.stderr and says in got.stderr, got
    assert vectors(got.stdout) == [mock_vector("a")]


def test_a_line_that_is_too_long_is_named(daemon):
    """It is not read to its end first."""
    got = ctl(daemon.place, "embed", "--text", stdin="a\n" + "b" * TOO_LONG)
    assert got.returncode == 2 and "line 2: longer than" in got.stderr, got.stderr
    assert vectors(got.stdout) == [mock_vector("a")]


def test_long_lines_are_sent_in_requests_that_fit(daemon):
    """Whatever `--batch` says; control characters have six bytes on the wire."""
    text = "\x01" * (3 * 1024 * 1024)
    got = ctl(daemon.place, "embed", "--text", "--batch", "1000", stdin=f"{text}\n" * 3)
    assert got.returncode == 0, got.stderr
    assert vectors(got.stdout) == [mock_vector(text)] * 3


def test_a_refused_request_names_its_lines(place, peer):
    """The one that the daemon's message means, or all of them; with the exit code of the error."""
    peer([embeddings([1.0], [2.0])], [error("invalid_request", "input[1] has 600 tokens, 512 are possible")],
         [error("queue_full", "queue full")], [error("embed_unsupported", "no")])
    got = ctl(place, "embed", "--batch", "2", stdin='"a"\n"b"\n\n"c"\n"d"\n"e"\n')
    assert got.returncode == 4 and "invalid_request: line 5: input[1] has 600 tokens" in got.stderr, got
    assert vectors(got.stdout) == [[1.0], [2.0]]
    got = ctl(place, "embed", stdin='"a"\n"b"\n"c"\n')
    assert got.returncode == 5 and "queue_full: lines 1 to 3: " in got.stderr, got
    got = ctl(place, "embed", stdin='"a"\n')
    assert got.returncode == 4 and "embed_unsupported: line 1: " in got.stderr, got


def test_an_answer_that_is_none_is_exit_code_8(place, peer):
    """The end of the connection, too few vectors, too many, another frame."""
    peer(None, [embeddings([1.0])], [embeddings([1.0], [2.0], [3.0])], [{"type": "done", "id": ""}])
    for _ in range(4):
        got = ctl(place, "embed", stdin='"a"\n"b"\n')
        assert (got.returncode, got.stdout) == (8, "") and got.stderr, got


def test_a_backend_that_fails_is_exit_code_6(start, place):
    """With the code on standard error."""
    start("--embed", fault="unavailable")
    got = ctl(place, "embed", stdin='"a"\n')
    assert got.returncode == 6 and "backend_unavailable" in got.stderr, got


@pytest.mark.parametrize("args", [["--task", "search"], ["--batch", "0"], ["--batch", "100001"], ["--batch=-1"], ["--dimensions", "0"],
                                  ["--dimensions", "4294967296"], ["--dimensions", "x"], ["extra"], ["--uds", "x"], ["--tcp", "127.0.0.1:1"],
                                  ["--embed-addr", "x", "--embed-tcp", "y"]], ids=" ".join)
def test_wrong_usage_is_refused(daemon, args):
    """Exit code 2; 4 for a task, whose names are the protocol's affair. Nothing is embedded."""
    got = ctl(daemon.place, "embed", *args, stdin='"a"\n')
    assert (got.returncode, got.stdout) == (4 if "--task" in args else 2, ""), got
    assert args[0].split("=")[0].lstrip("-") in got.stderr, got


def test_embed_at_another_place(start, place):
    """A named socket, from the command line or the environment."""
    path = place.base / "other.sock"
    start("--embed", "--embed-addr", str(path))
    assert vectors(ctl(place, "embed", "--embed-addr", path, stdin='"a"\n').stdout) == [mock_vector("a")]
    assert vectors(ctl(place, "embed", stdin='"a"\n', env={"INFERD_EMBED_ADDR": str(path)}).stdout) == [mock_vector("a")]


def test_embed_on_tcp_with_a_key(start, place):
    """The key is shown first."""
    address = f"127.0.0.1:{free_port()}"
    start("--embed", "--embed-tcp", address, env={"INFERD_API_KEY": "a key"})
    got = ctl(place, "embed", "--embed-tcp", address, stdin='"a"\n', env={"INFERD_API_KEY": "a key"})
    assert got.returncode == 0 and vectors(got.stdout) == [mock_vector("a")], got


def test_without_embed_it_is_exit_code_3(start, place):
    """No daemon, or one that does not serve it: the error says what is missing."""
    for serve in (False, True):
        if serve:
            start()
        got = ctl(place, "embed", "--embed-addr", place.runtime / "infer.embed.sock", "--admin-addr", place.admin, stdin='"a"\n')
        assert (got.returncode, got.stdout) == (3, ""), got
        assert "Is inferd-daemon running?" in got.stderr and "inferd-daemon --embed" in got.stderr, got


def test_ctrl_c_while_it_waits_for_a_line(daemon):
    """Exit code 130; what was answered is there."""
    process = begun(daemon.place, "embed", "--batch", "1", stdin=subprocess.PIPE)
    process.stdin.write('"a"\n')
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["index"] == 0
    sleeps(process)
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130


def test_ctrl_c_while_it_waits_for_vectors(place, peer):
    """The connection is closed, which ends the work."""
    there = peer([])  # it has the request and never answers
    process = begun(place, "embed", "--batch", "1", stdin=subprocess.PIPE)
    process.stdin.write('"a"\n')
    process.stdin.flush()
    there.asked(1)
    process.send_signal(signal.SIGINT)
    assert ended(process) == 130
