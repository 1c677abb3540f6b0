#!/usr/bin/env python3
"""Embeddings of all-MiniLM-L6-v2 (scripts/minilm.sh): inferd against llama-server's /v1/embeddings of the same pinned llama.cpp, memory from call to
call, and a chat model and an embedding model that share the CPUs. See README.md.

    bench/embed_bench.py [--build build/release] [--rows texts,memory,together] [--rounds 3] [--texts 10000] [--no-results]

Variables: INFERD_EMBED_MODEL (another embedding model), INFERD_MODEL (the chat model; default: the default model in the model store).
"""

import contextlib
import hashlib
import json
import operator
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import time

import harness
import lib
import prompts
import share_sides

TEXTS_RATIO, SAME_COSINE, MEMORY_RATIO, TOGETHER_SUM = 1.0, 0.999, 1.02, 0.9
LONGEST = 500  # words of a text: tokens, but for the special ones
WINDOW = 512  # of the model
SILENT_SECONDS = 3600  # a request of all texts is answered at its end only

# Settings of llama-server that are tried on the first texts; the best one is the peer.
PEER_BATCHES = [512, 1024, 2048, 4096]  # -b and -ub: a text has to fit into one micro-batch
PEER_SLOTS = 64
PEER_REQUESTS = [(0, 1), (256, 2), (32, 4)]  # texts of a request (0: all), requests in flight

MEMORY_CALLS = 10
CHAT_STREAMS, EMBED_CLIENTS, EMBED_TEXTS, EMBED_WORDS = 4, 2, 20, 100


class Bench(harness.Harness):
    """The processes of this benchmark."""

    def __init__(self, arguments, folder, table):
        super().__init__(arguments, folder, table)
        self.details["embed_model"] = {"path": str(arguments.embed_model), "sha256": arguments.embed_sha256}

    @contextlib.contextmanager
    def embedder(self):
        """A daemon with the embedding model alone, ready and warm."""
        arguments = self.arguments
        model = ["--backend", "llamacpp", "--model-path", arguments.embed_model, "--model-sha256", arguments.embed_sha256]
        with self.embed_daemon("inferd-daemon --embed", model) as daemon:
            yield daemon

    @contextlib.contextmanager
    def embed_daemon(self, name, options):
        self.started += 1
        folder = self.folder / f"e{self.started}"
        embed_socket = folder / "embed.sock"
        with lib.Daemon(self.arguments.daemon, folder, [*options, "--embed", "--embed-addr", embed_socket]) as daemon:
            daemon.embed_socket = embed_socket
            self.show(name, daemon.command)
            daemon.wait_ready()
            embed(daemon, Texts(1).some(8, 50))
            yield daemon

    @contextlib.contextmanager
    def peer(self, batch):
        options = ["--embeddings", "-t", self.threads, "-np", PEER_SLOTS, "-c", PEER_SLOTS * WINDOW, "-b", batch, "-ub", batch]
        program = self.arguments.peers / "llama-server"
        with lib.LlamaServer(program, self.folder / "peer", self.arguments.embed_model, options) as server:
            self.show(f"llama-server -b {batch} -ub {batch}", server.command)
            server.wait_ready()
            embed(server, Texts(1).some(8, 50))
            yield server


# ---------------------------------------------------------------- texts and requests


class Texts:
    """Of random words, each a token of both models."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, count, words=None):
        """`words` each; without a number, 1 to LONGEST, all equally often."""
        lengths = [words or self.random.randint(1, LONGEST) for _ in range(count)]
        return [" ".join(self.random.choices(prompts.WORDS, k=length)) for length in lengths]


def request_stream(side, texts):
    """A request for embeddings, connected and not sent."""
    if isinstance(side, lib.LlamaServer):
        body = json.dumps({"input": texts}).encode()
        head = (
            f"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1:{side.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        return lib.Stream(side.port, head + body, ())  # ends with its connection
    line = json.dumps({"id": "b", "input": texts}).encode() + b"\n"
    return lib.Stream(side.embed_socket, line, (b'"usage":', b'"type":"error"'))


class Batch:
    """What a request brought: vectors in the order of the texts, and tokens."""

    def __init__(self, side, stream):
        content = b"".join(stream.parts)
        if isinstance(side, lib.LlamaServer):
            head, _, content = content.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200") or b"chunked" in head.lower():
                lib.fail(f"llama-server answered {(head + content)[:400].decode(errors='replace')}")
            answer = json.loads(content)
            entries = sorted(answer["data"], key=operator.itemgetter("index"))
            self.vectors, self.tokens = [entry["embedding"] for entry in entries], answer["usage"]["prompt_tokens"]
            return
        answer = json.loads(content)
        if answer["type"] != "embeddings":
            lib.fail(f"the daemon answered {content[:400].decode(errors='replace')}")
        self.vectors, self.tokens = answer["embeddings"], answer["usage"]["input_tokens"]


class Run:
    """All texts, in requests of `size` (0: one of all), so many in flight: seconds from the first byte sent to the last one received."""

    def __init__(self, side, texts, size=0, in_flight=1):
        size = size or len(texts)
        self.side = side
        self.streams = [request_stream(side, texts[at : at + size]) for at in range(0, len(texts), size)]
        waiting = iter(self.streams)
        with lib.Loop() as loop:

            def begin_next(ended=None):
                if ended:
                    ended.close()
                stream = next(waiting, None)
                if stream:
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENT_SECONDS, 0))
                    loop.start(stream, begin_next)

            for _ in range(in_flight):
                begin_next()
            loop.run(stall=SILENT_SECONDS)
        self.seconds = max(stream.times[-1] for stream in self.streams) - min(stream.sent_at for stream in self.streams)

    def batches(self):
        return [Batch(self.side, stream) for stream in self.streams]


def embed(side, texts):
    [batch] = Run(side, texts).batches()
    return batch


# ---------------------------------------------------------------- many texts in one call


def texts(bench):
    arguments = bench.arguments
    asked = Texts(4).some(arguments.texts)
    batch, size, in_flight = best_peer(bench, asked[: arguments.tries])
    rounds, tokens = [], 0
    with bench.embedder() as daemon, bench.peer(batch) as server:
        bench.same_variant(daemon, server)
        for number in range(arguments.rounds):
            runs = {}
            for side in (daemon, server) if number % 2 == 0 else (server, daemon):
                run = Run(side, asked) if side is daemon else Run(side, asked, size, in_flight)
                batches = run.batches()
                vectors = [vector for each in batches for vector in each.vectors]
                if len(vectors) != len(asked):
                    lib.fail(f"{side.name}: {len(vectors)} vectors of {len(asked)} texts")
                runs[side.name] = (run.seconds, vectors)
                if side is daemon:
                    tokens = batches[0].tokens
            least = min(map(cosine, runs["inferd"][1], runs["llama-server"][1]))
            rounds.append({name: seconds for name, (seconds, _) in runs.items()} | {"least_cosine": least})
            lib.note("texts, s: " + ", ".join(f"{name} {value:.4g}" for name, value in rounds[-1].items()))
    bench.details["texts"] = {"texts": len(asked), "tokens": tokens, "rounds": rounds}
    ours, peer = (lib.median(r[name] for r in rounds) for name in ("inferd", "llama-server"))
    request = f"{size} texts a request, {in_flight} in flight" if size else "one request"
    bench.table.add(
        f"{len(asked)} texts of 1 to {LONGEST} tokens in one call: texts/s / llama-server",
        peer / ours,
        at_least=TEXTS_RATIO,
        detail=f"{ours:.1f} s, {tokens / ours:.0f} tokens/s; llama-server -b {batch}, {request}: {peer:.1f} s",
    )
    bench.table.add(
        "  the same: least cosine with llama-server's vector of the same text",
        min(r["least_cosine"] for r in rounds),
        at_least=SAME_COSINE,
    )


def best_peer(bench, asked):
    """The settings with which llama-server is fastest: (-b, texts a request, requests in flight)."""
    tried = {}
    for batch in PEER_BATCHES:
        with bench.peer(batch) as server:
            for size, in_flight in PEER_REQUESTS:
                tried[batch, size, in_flight] = Run(server, asked, size, in_flight).seconds
                lib.note(f"llama-server -b {batch}, {size or 'all'} texts x {in_flight}: {tried[batch, size, in_flight]:.2f} s")
    bench.details["llama_server_tries"] = [
        {"b": batch, "texts_a_request": size, "in_flight": in_flight, "seconds": seconds}
        for (batch, size, in_flight), seconds in tried.items()
    ]
    return min(tried, key=tried.get)


def cosine(a, b):
    dot, aa, bb = (sum(map(operator.mul, x, y)) for x, y in ((a, b), (a, a), (b, b)))
    return dot / (aa * bb) ** 0.5


# ---------------------------------------------------------------- memory


def memory(bench):
    """The same number of other texts in each call."""
    source, taken = Texts(5), []
    with bench.embedder() as daemon:
        for _ in range(MEMORY_CALLS):
            embed(daemon, source.some(max(1, bench.arguments.texts // 10)))
            taken.append(daemon.family_memory()["rss"])
            lib.note(f"memory: {taken[-1]:.1f} MiB")
    bench.details["memory_rss_mib"] = taken
    bench.table.add(
        f"memory of daemon and engine: after call {MEMORY_CALLS} / after the first",
        taken[-1] / taken[0],
        at_most=MEMORY_RATIO,
        detail=", ".join(f"{size:.0f}" for size in taken) + " MiB",
    )


# ---------------------------------------------------------------- two engines


class Embeddings:
    """Requests that go on: each that ends is followed by another one."""

    def __init__(self, daemon, loop):
        self.daemon, self.loop, self.texts = daemon, loop, Texts(6)
        self.open, self.ended = [], []
        for _ in range(EMBED_CLIENTS):
            self.start_one()

    def start_one(self):
        stream = request_stream(self.daemon, self.texts.some(EMBED_TEXTS, EMBED_WORDS))
        self.open.append(stream)
        self.loop.start(stream, self.follow)

    def follow(self, stream):
        stream.close()
        self.open.remove(stream)
        self.ended.append(stream)
        self.start_one()

    def close(self):
        for stream in self.open:
            self.loop.forget(stream)
            stream.close()

    def rate(self, begin, end):
        """Tokens a second between the first and the last answer in this time. One is computed after the other."""
        answers = [stream for stream in self.ended if begin <= stream.times[-1] <= end]
        if len(answers) < 3:
            lib.fail(f"{len(answers)} answers with embeddings in {end - begin:.0f} s")
        tokens = [int(re.search(rb'"input_tokens":(\d+)', b"".join(stream.parts[-2:]))[1]) for stream in answers[1:]]
        return sum(tokens) / (answers[-1].times[-1] - answers[0].times[-1])


def together(bench):
    """Chat alone, embeddings alone, both at once, in turn."""
    rounds = []
    with bench.embed_daemon("inferd-daemon --config", ["--config", write_config(bench)]) as daemon:
        if (processes := len(daemon.family())) < 3:
            lib.fail(f"a daemon and two engines are expected, there are {processes} processes")
        bench.ask(daemon, bench.prompts.story(), 8)
        for _ in range(bench.arguments.rounds):
            chat_alone, _ = rates(bench, daemon, chats=True, embeds=False)
            _, embed_alone = rates(bench, daemon, chats=False, embeds=True)
            chat, embeds = rates(bench, daemon, chats=True, embeds=True)
            rounds.append(
                {
                    "chat_alone": chat_alone,
                    "embed_alone": embed_alone,
                    "chat_together": chat,
                    "embed_together": embeds,
                    "sum": chat / chat_alone + embeds / embed_alone,
                }
            )
            lib.note("together, tokens/s: " + ", ".join(f"{key} {value:.3g}" for key, value in rounds[-1].items()))
    bench.details["together_tokens_per_second"] = rounds
    middle = {key: lib.median(r[key] for r in rounds) for key in rounds[0]}
    bench.table.add(
        f"chat and embed entry at once on {bench.threads} CPUs: chat / chat alone + embeddings / embeddings alone",
        middle["sum"],
        at_least=TOGETHER_SUM,
        detail=f"chat, {CHAT_STREAMS} streams: {middle['chat_together']:.1f} of {middle['chat_alone']:.1f} tokens/s; "
        f"embeddings: {middle['embed_together']:.0f} of {middle['embed_alone']:.0f} tokens/s",
    )


def rates(bench, daemon, chats, embeds):
    """Tokens a second of the streams and of the embeddings, for as long as they run side by side."""
    with lib.Loop() as loop:
        crowd = share_sides.Crowd(bench, daemon, loop, CHAT_STREAMS) if chats else None
        flow = Embeddings(daemon, loop) if embeds else None
        try:
            loop.run(until=time.monotonic() + 2)  # both are at work
            begin = time.monotonic()
            end = begin + bench.arguments.seconds
            loop.run(until=end)
        finally:
            for running in (crowd, flow):
                if running:
                    running.close()
    arrived = [at for stream in crowd.streams for at in daemon.token_times(stream)] if crowd else []
    return sum(begin <= at <= end for at in arrived) / (end - begin), flow.rate(begin, end) if flow else 0.0


def write_config(bench):
    """A config file with both entries, whose models are in a store of this benchmark."""
    arguments = bench.arguments
    store = bench.folder / "models"
    entries = []
    for name, model, more in (("chat", arguments.model, {"n_ctx": 4096}), ("embed", arguments.embed_model, {"embed": True})):
        told = subprocess.run(
            [arguments.build / "bin/inferdctl", "--json", "import", model, "--name", name],
            env=lib.clean_environment(bench.folder, MODELS_HOME=str(store)),
            capture_output=True,
            text=True,
        )
        if told.returncode != 0:
            lib.fail(f"inferdctl import {model}: {told.stderr}")
        sha256 = json.loads(told.stdout.splitlines()[-1])["sha256"]
        source = {"name": name, "sha256": sha256, "source_url": "https://127.0.0.1/nowhere"}
        entries.append({"kind": "llamacpp", "name": name, "model": source, **more})
    path = bench.folder / "config.json"
    path.write_text(json.dumps({"auto_pull": False, "models_home": str(store), "backends": entries}))
    return path


# ---------------------------------------------------------------- the command

ROWS = {"texts": texts, "memory": memory, "together": together}


def find_embed_model():
    if os.environ.get("INFERD_EMBED_MODEL"):
        return pathlib.Path(os.environ["INFERD_EMBED_MODEL"])
    run = subprocess.run([lib.ROOT / "scripts/minilm.sh"], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        lib.fail("scripts/minilm.sh failed")
    return pathlib.Path(run.stdout.strip())


def main():
    parser = harness.parser(__doc__, ROWS)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--tries", type=int, default=500, help="texts for the choice of llama-server's settings")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement of the row together")
    parser.set_defaults(rounds=3)
    arguments = parser.parse_args()
    harness.complete(arguments, ROWS)
    arguments.embed_model = find_embed_model()
    with open(arguments.embed_model, "rb") as model:
        arguments.embed_sha256 = hashlib.file_digest(model, "sha256").hexdigest()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started here ends with it, as with Ctrl-C
    lib.warn_if_busy()
    facts, table = lib.machine(), lib.Table()
    with lib.Scratch() as folder:
        bench = Bench(arguments, folder, table)
        for name in arguments.chosen:
            begin = time.monotonic()
            try:
                ROWS[name](bench)
            except SystemExit as failed:  # of lib.fail(): the other rows are worth having
                table.add(f"{name}: measured", 0, at_least=1, detail=str(failed))
            lib.note(f"{name}: {time.monotonic() - begin:.0f} s")
    for name, command in bench.details["commands"].items():
        print(f"{name}: {command}")
    table.print()
    if not arguments.no_results:
        table.write("embed", facts, bench.details)
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
