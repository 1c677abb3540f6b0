"""What the benchmarks share: the machine's facts, processes under test, a client that costs little while it measures,
statistics, and the table of results. Standard library only."""

import datetime
import glob
import http.client
import json
import math
import os
import pathlib
import selectors
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
STALL_SECONDS = 60


def note(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def fail(text):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {text}")


# ---------------------------------------------------------------- the machine


def machine():
    """Facts that a figure means nothing without."""
    model = "unknown"
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "load_average": os.getloadavg()[0],
    }


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)

    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode != 0:
        return "none"
    # The results themselves are not what is measured.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results").stdout.strip()
    return head.stdout.strip() + ("-dirty" if changed else "")


def warn_if_busy():
    load = os.getloadavg()[0]
    if load > 0.5 * len(os.sched_getaffinity(0)):
        note(f"warning: the load average is {load:.2f}: something else runs, the figures will be off")


# ---------------------------------------------------------------- processes under test


def clean_environment(home, **more):
    """An environment without a person's settings, so that a run depends on nothing but its command line."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(home), "LANG": "C.UTF-8", **more}


class Scratch:
    """A private folder for sockets, logs and locks; its path is short, because a socket's path must be."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="inferd-bench-"))
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Server:
    """A process that is started here and ended here, by its own id."""

    def __init__(self, command, environment, stderr=subprocess.DEVNULL):
        self.command = [str(part) for part in command]
        self.exec_at = time.monotonic()
        self.process = subprocess.Popen(
            self.command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
        self.pid = self.process.pid

    def check_alive(self):
        if self.process.poll() is not None:
            fail(f"ended with exit code {self.process.returncode}: {' '.join(self.command)}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)  # the second signal ends the drain at once
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    note(f"{self.command[0]} did not end, killing it")
                    self.process.kill()
                    self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def family(self):
        """This process and its descendants."""
        found, seen = [self.pid], 0
        while seen < len(found):
            for children in glob.glob(f"/proc/{found[seen]}/task/*/children"):
                try:
                    found += [int(pid) for pid in open(children).read().split()]
                except OSError:
                    pass
            seen += 1
        return found

    def cpu_variant(self):
        """The ggml CPU variant that is mapped into this process or a child of it: `zen4`, `haswell`, ..."""
        for pid in self.family():
            try:
                maps = open(f"/proc/{pid}/maps").read()
            except OSError:
                continue
            if "libggml-cpu-" in maps:
                return maps.split("libggml-cpu-", 1)[1].split(".so", 1)[0]
        return "unknown"

    def memory(self):
        """Resident memory in MiB, from the kernel's status of this process alone."""
        fields = {}
        for line in open(f"/proc/{self.pid}/status"):
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssFile", "VmRSS"):
                fields[name] = int(value.split()[0]) / 1024
        return fields

    def family_memory(self):
        """Resident and proportional memory in MiB, summed over this process and its descendants. What two of them map
        counts twice in `rss` and once in `pss`."""
        total = {"rss": 0.0, "pss": 0.0}
        for pid in self.family():
            for line in open(f"/proc/{pid}/smaps_rollup"):
                name, _, value = line.partition(":")
                if name in ("Rss", "Pss"):
                    total[name.lower()] += int(value.split()[0]) / 1024
        return total

    def place(self, cpus):
        """Moves all threads of this process to `cpus`; threads that it starts later follow the one that starts them."""
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                os.sched_setaffinity(int(task), cpus)
            except ProcessLookupError:
                pass


class Daemon(Server):
    """inferd-daemon in a folder of its own: sockets, lock, activity log."""

    name = "inferd"

    def __init__(self, program, folder, arguments, stderr=subprocess.DEVNULL, folder_mode=0o700):
        folder.mkdir(mode=0o700, parents=True)
        folder.chmod(folder_mode)
        self.socket, self.admin, self.logs = folder / "v1.sock", folder / "admin.sock", folder / "logs"
        self.log = self.logs / "inferd.ndjson"
        home = folder / "home"
        home.mkdir(mode=0o700)
        if not os.access(program, os.X_OK):
            fail(f"{program} is not there: make build")
        super().__init__(
            [program, *arguments, "--uds", self.socket, "--lock", folder / "lock", "--admin-addr", self.admin],
            clean_environment(home, INFERD_LOG_DIR=str(self.logs), TMPDIR=str(folder)),
            stderr,
        )

    def wait_ready(self, limit=120.0):
        """Seconds from exec to the `ready` line on the admin socket."""
        deadline = self.exec_at + limit
        admin = retry_connect(self, self.admin, deadline)
        with admin:
            admin.settimeout(limit)
            held = b""
            while True:
                try:
                    got = admin.recv(65536)
                except TimeoutError:
                    fail("the daemon is not ready in time")
                at = time.monotonic()
                if not got:
                    self.process.wait(5)
                    fail(f"the daemon's start failed: {held.decode(errors='replace')[-400:]}")
                held += got
                if b'"status":"ready"' in held:
                    return at - self.exec_at

    def engine_pid(self):
        """The process of inferd-engine that lives now, or None: the engine may just have died."""
        for pid in self.family()[1:]:
            try:
                # Field 2 is the name in brackets, cut at 15 bytes; field 3 the state: a zombie has ended.
                name, _, rest = open(f"/proc/{pid}/stat").read().partition(" (")[2].rpartition(") ")
            except OSError:
                continue
            if name.startswith("inferd-engine") and rest[0] not in "ZX":
                return pid
        return None

    def records(self, message):
        """The activity log's records of this kind since the log was last rotated (at 16 MiB)."""
        with open(self.log, "rb") as log:
            lines = [line for line in log if line.endswith(b"\n") and message.encode() in line]
        return [record for record in map(json.loads, lines) if record.get("msg") == message]

    def stream(self, messages, max_tokens, **fields):
        """A request with these fields besides."""
        return v1_stream(self.socket, messages, max_tokens, **fields)

    def answer(self, stream):
        return v1_answer(stream)

    def token_times(self, stream):
        """Of an answer that need not have ended."""
        return [at for at, line in stream.lines() if line.startswith(b'{"type":"token"')]


def wall_clock(record):
    """Seconds since the epoch of a record in the activity log."""
    return datetime.datetime.fromisoformat(record["t"]).timestamp()


class LlamaServer(Server):
    """llama-server on a free port of the loopback."""

    name = "llama-server"

    def __init__(self, program, folder, model, arguments):
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = folder / f"llama-server-{self.port}.log"
        with open(self.log, "wb") as log:
            super().__init__(
                [program, "-m", model, "--host", "127.0.0.1", "--port", self.port, *arguments],
                clean_environment(folder),
                log,
            )

    def wait_ready(self, limit=120.0, pause=0.001):
        """Seconds from exec until /health answers 200. The port is tried every millisecond; once it answers, one kept
        connection asks every `pause` seconds."""
        deadline = self.exec_at + limit
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while time.monotonic() < deadline:
            try:
                connection.request("GET", "/health")
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    return time.monotonic() - self.exec_at
                time.sleep(pause)
            except (OSError, http.client.HTTPException):
                connection.close()
                self.check_alive()
                time.sleep(0.001)
        fail(f"llama-server is not healthy in time, see {self.log}")

    def post(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        connection.close()
        return json.loads(answer)

    def stream(self, messages, max_tokens, cache_prompt=True):
        return chat_stream(self.port, messages, max_tokens, cache_prompt)

    def answer(self, stream):
        return chat_answer(stream)

    def token_times(self, stream):
        """Of an answer that need not have ended."""
        return [
            at for at, event in chat_events(stream) if any(c["delta"].get("content") for c in event.get("choices", []))
        ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def retry_connect(server, path, deadline):
    """Connects to a Unix socket that a starting process has yet to make; tries every millisecond."""
    while time.monotonic() < deadline:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(str(path))
            return client
        except OSError:
            client.close()
            server.check_alive()
            time.sleep(0.001)
    fail(f"nothing accepts on {path}")


# ---------------------------------------------------------------- a client that costs little while it measures


class Stream:
    """One request and its answer. While the answer arrives only its bytes and the times of their arrival are kept; it
    is parsed afterwards, because the client shares the CPUs with the engine that it measures."""

    def __init__(self, endpoint, request, ends):
        """`endpoint` is a socket path or a port of the loopback; the last line contains one of `ends`."""
        if isinstance(endpoint, int):
            self.socket = socket.create_connection(("127.0.0.1", endpoint))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(endpoint))
        # A blocking receive with the kernel's own time limit costs one system call; Python's settimeout would cost two.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(STALL_SECONDS), 0))
        self.request, self.ends = request, ends
        self.parts, self.times = [], []
        self.sent_at = 0.0
        self.finished = False

    def send(self):
        self.sent_at = time.monotonic()
        self.socket.sendall(self.request)

    def take(self):
        """Receives once."""
        try:
            part = self.socket.recv(65536)
        except BlockingIOError:
            fail(f"nothing arrived for {STALL_SECONDS} s")
        except ConnectionError:
            part = b""
        self.times.append(time.monotonic())
        self.parts.append(part)
        tail = b"".join(self.parts[-3:])
        self.finished = not part or (tail.endswith(b"\n") and any(end in tail for end in self.ends))

    def close(self):
        self.socket.close()

    def lines(self):
        """(arrival of its last byte, line) of each complete line."""
        held = b""
        for at, part in zip(self.times, self.parts):
            held += part
            *whole, held = held.split(b"\n")
            for line in whole:
                yield at, line


class Answer:
    """What a stream brought: times in seconds of CLOCK_MONOTONIC."""

    def __init__(self, sent_at, token_times, done_at, text, prompt_tokens, completion_tokens, cached, stop):
        self.sent_at, self.token_times, self.done_at, self.text = sent_at, token_times, done_at, text
        self.prompt_tokens, self.completion_tokens, self.cached, self.stop = (
            prompt_tokens,
            completion_tokens,
            cached,
            stop,
        )

    def first_token_ms(self):
        return (self.token_times[0] - self.sent_at) * 1e3

    def tokens_per_second(self):
        return (self.completion_tokens - 1) / (self.token_times[-1] - self.token_times[0])


class Loop:
    """Many streams in one thread: receives what arrives, until a time or until something is so."""

    def __init__(self):
        self.selector = selectors.EpollSelector()
        self.open = {}  # stream -> what to call with it when its answer has ended

    def start(self, stream, on_end=None, send=True):
        self.open[stream] = on_end or Stream.close
        self.selector.register(stream.socket, selectors.EVENT_READ, stream)
        if send:
            stream.send()

    def forget(self, stream):
        """Receives no more from it; the caller closes it. Nothing happens if its answer has ended."""
        if self.open.pop(stream, None):
            self.selector.unregister(stream.socket)

    def run(self, until=None, done=lambda: False, stall=STALL_SECONDS):
        """Returns at the time `until`, when `done` holds, or without `until` when no stream is open."""
        while (self.open or until is not None) and not done():
            left = stall if until is None else until - time.monotonic()
            if left <= 0:
                return
            ready = self.selector.select(left)
            if not ready and until is None:
                fail(f"nothing arrived for {stall} s")
            for key, _ in ready:
                stream = key.data
                if stream not in self.open:  # forgotten by what another one's end called
                    continue
                stream.take()
                if stream.finished:
                    on_end = self.open[stream]
                    self.forget(stream)
                    on_end(stream)

    def close(self):
        for stream in list(self.open):
            self.forget(stream)
            stream.close()
        self.selector.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def run_streams(streams):
    """Sends all requests and receives all answers, in one thread."""
    if len(streams) == 1:  # a blocking receive is the cheapest wait
        stream = streams[0]
        stream.send()
        while not stream.finished:
            stream.take()
        stream.close()
        return
    with Loop() as loop:
        for stream in streams:
            loop.start(stream, send=False)
        for stream in streams:
            stream.send()
        loop.run()


def run_clients(clients):
    """Each client is an iterator of streams: it sends the next one when the answer to the last has come. All first ones
    are connected before any is sent. All streams."""
    sent = []
    with Loop() as loop:

        def begin(client, stream):
            sent.append(stream)
            loop.start(stream, lambda ended: go_on(client, ended))

        def go_on(client, ended):
            ended.close()
            following = next(client, None)
            if following is not None:
                begin(client, following)

        clients = [iter(client) for client in clients]
        for client, stream in [(client, next(client)) for client in clients]:
            begin(client, stream)
        loop.run()
    return sent


def close_now(stream, silent=False):
    """Closes; the wall clock time just before. None if a frame had already come and `silent` was asked for."""
    if silent:
        stream.socket.setblocking(False)
        try:
            stream.socket.recv(1)
            stream.close()
            return None
        except BlockingIOError:
            pass
    at = time.time()
    stream.close()
    return at


def v1_stream(endpoint, messages, max_tokens, request_id="b", **more):
    request = {"id": request_id, "messages": messages, "temperature": 0, "max_tokens": max_tokens, **more}
    return Stream(endpoint, json.dumps(request).encode() + b"\n", (b'"stop_reason":', b'"type":"error"'))


def v1_answer(stream):
    times, done_at, done = [], None, None
    for at, line in stream.lines():
        frame = json.loads(line)
        if frame["type"] == "token":
            times.append(at)  # a token without text has a frame too
        elif frame["type"] == "done":
            done_at, done = at, frame
        else:
            fail(f"the daemon answered {line.decode()}")
    if done is None:
        fail("the daemon closed a stream before its end")
    usage = done["usage"]
    return Answer(
        stream.sent_at,
        times,
        done_at,
        done["content"],
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage.get("cached_prompt_tokens", 0),
        done["stop_reason"],
    )


def chat_stream(endpoint, messages, max_tokens, cache_prompt):
    """The same request to llama-server's /v1/chat/completions, over a connection of its own like the daemon's."""
    body = json.dumps(
        {
            "messages": messages,
            "temperature": 0,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": cache_prompt,
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{endpoint}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return Stream(endpoint, head + body, (b"data: [DONE]",))


def chat_events(stream):
    """(arrival, event) of each event so far."""
    for at, line in stream.lines():
        if line.startswith(b"data: {"):
            yield at, json.loads(line[len(b"data: ") :])
        elif line.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
            fail(f"llama-server answered {b''.join(stream.parts).decode(errors='replace')}")


def chat_answer(stream, may_be_empty=False):
    times, usage, text, stop, done_at = [], None, "", "", None
    for at, event in chat_events(stream):
        for choice in event.get("choices", []):
            if choice["delta"].get("content"):
                text += choice["delta"]["content"]
                times.append(at)
            if choice.get("finish_reason"):
                stop, done_at = choice["finish_reason"], at
        usage = event.get("usage") or usage
    if usage is None or not (times or may_be_empty):
        fail(f"llama-server's stream has no usage or no text: {b''.join(stream.parts).decode(errors='replace')[-400:]}")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Answer(
        stream.sent_at, times, done_at, text, usage["prompt_tokens"], usage["completion_tokens"], cached, stop
    )


# ---------------------------------------------------------------- figures


def median(values):
    return statistics.median(values)


def percentile(values, percent):
    """Nearest rank: with fewer than 100 values the 99th is the largest."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


class Table:
    """Rows of figures, each with its target; printed at the end and written to bench/results/."""

    def __init__(self):
        self.rows = []

    def add(self, what, value, unit="", at_most=None, at_least=None, detail=""):
        row = {"what": what, "value": round(value, 4), "unit": unit, "detail": detail}
        if at_most is not None:
            row |= {"target": f"<= {at_most:g}", "pass": value <= at_most}
        if at_least is not None:
            row |= {"target": f">= {at_least:g}", "pass": value >= at_least}
        self.rows.append(row)

    def missed(self):
        return [row for row in self.rows if row.get("pass") is False]

    def print(self):
        width = max((len(row["what"]) for row in self.rows), default=0)
        for row in self.rows:
            verdict = {True: "pass", False: "FAIL", None: ""}[row.get("pass")]
            figure = f"{row['value']:>10.3f} {row['unit']:<5} {row.get('target', ''):>8}  {verdict:<4}"
            print(f"{row['what']:<{width}}  {figure}  {row['detail']}")

    def write(self, suffix, facts, details):
        """The file's path."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{facts['date'][:10]}-{suffix}.json"
        with open(path, "w") as out:
            json.dump({**facts, "rows": self.rows, "details": details}, out, indent=1)
            out.write("\n")
        print(f"written to {path.relative_to(ROOT)}")
        return path
