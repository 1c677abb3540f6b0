#!/usr/bin/env python3
"""inferd with the default model against llama-bench and llama-server of the same pinned llama.cpp. See README.md.

    bench/model_bench.py [--build build/release] [--rows decode,first,many,start,cancel,outside]

Variables: INFERD_MODEL (a model file; default: the default model in the model store).
"""

import json
import os
import subprocess
import threading
import time

import harness
import lib

N_CTX = 8192
SEQUENCES = 8  # the daemon's default --active-permits
POOL = min(SEQUENCES * N_CTX, 16384)  # its default --kv-cells; llama-server gets as many
ANSWER_TOKENS = 64

DECODE_RATIO, FIRST_TOKEN_RATIO, MANY_RATIO, START_RATIO, CANCEL_MS = 0.98, 1.15, 1.0, 1.0, 50


class Bench(harness.Harness):
    def daemon(self, *more):
        return super().daemon("--n-ctx", str(N_CTX), *more)

    # ------------------------------------------------------------ one client: decode rate

    def decode(self):
        rounds = []
        with self.daemon() as daemon, self.server(1, N_CTX) as server:
            daemon.wait_ready()
            server.wait_ready()
            self.ask(daemon, self.prompts.story(), 8)
            self.ask(server, self.prompts.story(), 8)
            self.same_variant(daemon, server)
            for _ in range(self.arguments.rounds):
                ours = [self.full_rate(self.ask(daemon, self.prompts.story(), ANSWER_TOKENS)) for _ in range(3)]
                peer = [self.full_rate(self.ask(server, self.prompts.story(), ANSWER_TOKENS)) for _ in range(3)]
                rounds.append(
                    {"inferd": sum(ours) / 3, "llama_bench": self.llama_bench(), "llama_server": sum(peer) / 3}
                )
                lib.note("decode, tokens/s: " + ", ".join(f"{key} {value:.1f}" for key, value in rounds[-1].items()))
        self.details["decode_tokens_per_second"] = rounds
        ours, bench, server = (lib.median(r[key] for r in rounds) for key in ("inferd", "llama_bench", "llama_server"))
        self.table.add(
            "one client: decode rate / llama-bench tg64",
            ours / bench,
            at_least=DECODE_RATIO,
            detail=f"{ours:.1f} tokens/s, llama-bench {bench:.1f}",
        )
        self.table.add("  the same / llama-server", ours / server, detail=f"llama-server {server:.1f}")

    def full_rate(self, answer):
        if answer.completion_tokens != ANSWER_TOKENS:
            lib.fail(
                f"an answer ended after {answer.completion_tokens} tokens ({answer.stop}), expected {ANSWER_TOKENS}"
            )
        return answer.tokens_per_second()

    def llama_bench(self):
        command = [
            self.arguments.peers / "llama-bench",
            "-m",
            self.arguments.model,
            "-n",
            str(ANSWER_TOKENS),
            "-p",
            "0",
            "-t",
            str(self.threads),
            "-r",
            "3",
            "-o",
            "json",
        ]
        self.show("llama-bench", [str(part) for part in command])
        run = subprocess.run(
            command, capture_output=True, text=True, env=lib.clean_environment(self.folder), timeout=120
        )
        if run.returncode != 0:
            lib.fail(f"llama-bench: {run.stderr}")
        return json.loads(run.stdout)[0]["avg_ts"]

    # ------------------------------------------------------------ one client: first token

    def first(self):
        samples = []
        with self.daemon() as daemon, self.server(1, N_CTX) as server:
            daemon.wait_ready()
            server.wait_ready()
            self.ask(daemon, self.prompts.short(), 8)
            self.ask(server, self.prompts.short(), 8)
            self.same_variant(daemon, server)
            for _ in range(5 * self.arguments.rounds):
                messages = self.prompts.short()
                ours = self.ask(daemon, messages, 8)
                peer = self.ask(server, messages, 8)
                # Another prompt of the same length: the peer has just seen this one.
                cold = self.ask(server, self.prompts.short(), 8, cache_prompt=False)
                samples.append(
                    {
                        "inferd": ours.first_token_ms(),
                        "llama_server": peer.first_token_ms(),
                        "llama_server_without_cache": cold.first_token_ms(),
                        "prompt_tokens": [ours.prompt_tokens, peer.prompt_tokens],
                        "cached": [ours.cached, peer.cached],
                    }
                )
        self.details["first_token_ms"] = samples
        ours, peer, cold = (
            lib.median(s[key] for s in samples) for key in ("inferd", "llama_server", "llama_server_without_cache")
        )
        last = samples[-1]
        if last["prompt_tokens"][0] != last["prompt_tokens"][1]:
            lib.note(f"warning: prompt tokens differ: {last['prompt_tokens']}")
        self.table.add(
            f"one client: first token of {last['prompt_tokens'][0]} / llama-server",
            ours / peer,
            at_most=FIRST_TOKEN_RATIO,
            detail=f"{ours:.1f} ms, {last['cached'][0]} cached; llama-server {peer:.1f} ms, {last['cached'][1]} cached",
        )
        self.table.add(
            "  the same / llama-server with cache_prompt false", ours / cold, detail=f"llama-server {cold:.1f} ms"
        )

    # ------------------------------------------------------------ eight clients

    def many(self):
        rounds = []
        with self.daemon() as daemon, self.server(SEQUENCES, POOL) as server:
            daemon.wait_ready()
            server.wait_ready()
            self.ask(daemon, self.prompts.story(), 8)
            self.ask(server, self.prompts.story(), 8)
            self.same_variant(daemon, server)
            for _ in range(self.arguments.rounds):
                asked = [self.prompts.story() for _ in range(SEQUENCES)]
                ours = [lib.v1_stream(daemon.socket, messages, ANSWER_TOKENS) for messages in asked]
                lib.run_streams(ours)
                peer = [lib.chat_stream(server.port, messages, ANSWER_TOKENS, True) for messages in asked]
                lib.run_streams(peer)
                rounds.append(
                    {
                        "inferd": self.together([lib.v1_answer(stream) for stream in ours]),
                        "llama_server": self.together([lib.chat_answer(stream) for stream in peer]),
                    }
                )
                lib.note("8 clients: " + json.dumps(rounds[-1]))
        self.details["many"] = rounds

        def both(key):
            return [lib.median(r[side][key] for r in rounds) for side in ("inferd", "llama_server")]

        ours, peer = both("tokens_per_second")
        self.table.add(
            "8 clients: tokens/s, first byte sent to last `done` / llama-server",
            ours / peer,
            at_least=MANY_RATIO,
            detail=f"{ours:.1f} tokens/s, llama-server {peer:.1f}",
        )
        ours, peer = both("tokens_per_second_from_first_token")
        self.table.add(
            "  (n - 1) / (last token - first token) / llama-server",
            ours / peer,
            detail=f"{ours:.1f} tokens/s, llama-server {peer:.1f}",
        )
        ours, peer = both("first_token_ms")
        self.table.add(
            "  first token, median of the 8 / llama-server",
            ours / peer,
            detail=f"{ours:.0f} ms, llama-server {peer:.0f} ms",
        )
        ours, peer = both("tokens")
        self.table.add("  tokens / llama-server", ours / peer, detail=f"{ours:.0f}, llama-server {peer:.0f}")

    def together(self, answers):
        tokens = sum(answer.completion_tokens for answer in answers)
        wall = max(answer.done_at for answer in answers) - min(answer.sent_at for answer in answers)
        decode = max(answer.token_times[-1] for answer in answers) - min(answer.token_times[0] for answer in answers)
        return {
            "tokens": tokens,
            "tokens_per_second": round(tokens / wall, 2),
            "tokens_per_second_from_first_token": round((tokens - 1) / decode, 2),
            "first_token_ms": round(lib.median(answer.first_token_ms() for answer in answers), 1),
        }

    # ------------------------------------------------------------ exec to ready

    def start(self):
        rounds = []
        for _ in range(self.arguments.rounds):
            with self.daemon() as daemon:
                ours = daemon.wait_ready()
            with self.server(SEQUENCES, POOL) as server:
                peer = server.wait_ready()
            with self.server(1, N_CTX) as server:
                small = server.wait_ready()
            rounds.append({"inferd": ours, "llama_server": peer, "llama_server_one_slot": small})
            lib.note("exec to ready, s: " + ", ".join(f"{key} {value:.3f}" for key, value in rounds[-1].items()))
        self.details["exec_to_ready_seconds"] = rounds
        ours, peer, small = (
            lib.median(r[key] for r in rounds) for key in ("inferd", "llama_server", "llama_server_one_slot")
        )
        self.table.add(
            "exec to `ready` / llama-server's exec to healthy",
            ours / peer,
            at_most=START_RATIO,
            detail=f"{ours:.3f} s, llama-server -np {SEQUENCES} -c {POOL} {peer:.3f} s",
        )
        self.table.add(
            f"  the same / llama-server -np 1 -c {N_CTX}", ours / small, detail=f"llama-server {small:.3f} s"
        )

    # ------------------------------------------------------------ cancel, seen in the activity log

    def cancel(self):
        with self.daemon() as daemon:
            daemon.wait_ready()
            log = CancelLog(daemon)
            self.cancel_row("prefill", {"running"}, lambda request_id: self.close_in_prefill(daemon, request_id), log)
            self.cancel_row("decode", {"running"}, lambda request_id: self.close_in_decode(daemon, request_id), log)
        with self.daemon("--active-permits", "1") as daemon:
            daemon.wait_ready()
            log = CancelLog(daemon)
            with Occupant(daemon, self.prompts):
                self.cancel_row(
                    "queue", {"queued", "prepared"}, lambda request_id: self.close_in_queue(daemon, request_id), log
                )

    def cancel_row(self, phase, states, close_one, log):
        wanted = self.arguments.samples
        taken, skipped = [], 0
        while len(taken) < wanted:
            request_id = f"{phase}-{len(taken) + skipped}"
            closed_at = close_one(request_id)
            record = closed_at and log.wait(request_id)
            if record and record["state"] in states:
                taken.append({"ms": (record["at"] - closed_at) * 1e3, "state": record["state"]})
            else:
                skipped += 1  # it got further, or less far, than this row is about
                if skipped > max(5, wanted // 5):
                    lib.fail(
                        f"cancel in {phase}: {skipped} of {skipped + len(taken)} closes were no such cancel; "
                        f"the last record: {record}"
                    )
        self.details[f"cancel_{phase}"] = {"samples": taken, "skipped": skipped}
        values = [sample["ms"] for sample in taken]
        seen = {state: sum(sample["state"] == state for sample in taken) for state in sorted(states)}
        self.table.add(
            f"cancel in {phase}: close() to removed, p99",
            lib.percentile(values, 99),
            "ms",
            at_most=CANCEL_MS,
            detail=f"median {lib.median(values):.2f} ms, {len(values)} samples {seen}",
        )

    def close_in_prefill(self, daemon, request_id):
        stream = lib.v1_stream(daemon.socket, self.prompts.long(), 16, request_id)
        stream.send()
        time.sleep(0.2)
        return lib.close_now(stream, silent=True)

    def close_in_decode(self, daemon, request_id):
        stream = lib.v1_stream(daemon.socket, self.prompts.story(), 1000, request_id)
        stream.send()
        for _ in range(5):
            stream.take()
        time.sleep(self.prompts.random.uniform(0, 0.02))  # anywhere within a step
        return lib.close_now(stream)

    def close_in_queue(self, daemon, request_id):
        stream = lib.v1_stream(daemon.socket, self.prompts.story(), 16, request_id)
        stream.send()
        time.sleep(self.prompts.random.uniform(0.001, 0.06))  # before, while and after it is prepared
        return lib.close_now(stream, silent=True)

    # ------------------------------------------------------------ cancel, seen from outside

    def outside(self):
        with self.daemon("--active-permits", "1") as daemon:
            daemon.wait_ready()
            self.ask(daemon, self.prompts.story(), 8)
            for phase, begin in (("prefill", self.begin_prefill), ("decode", self.begin_decode)):
                idle, after = [], []
                attempts = 0
                while len(after) < self.arguments.samples:
                    attempts += 1
                    if attempts > 2 * self.arguments.samples:
                        lib.fail(f"outside, {phase}: the first client's answer keeps ending by itself")
                    idle.append(self.ask(daemon, self.prompts.short(), 2).first_token_ms())
                    first = begin(daemon)
                    second = lib.v1_stream(daemon.socket, self.prompts.short(), 2)
                    second.send()
                    time.sleep(0.1)
                    closed_at = time.monotonic()
                    first.close()
                    while not second.finished:
                        second.take()
                    second.close()
                    answer = lib.v1_answer(second)
                    if answer.token_times[0] > closed_at:
                        after.append((answer.token_times[0] - closed_at) * 1e3)
                base = lib.median(idle)
                later = [value - base for value in after]
                self.details[f"outside_{phase}"] = {"idle_ms": idle, "after_close_ms": after}
                self.table.add(
                    f"waiting behind a cancelled {phase}: later than idle, p99",
                    lib.percentile(later, 99),
                    "ms",
                    at_most=CANCEL_MS,
                    detail=f"median {lib.median(later):.1f} ms; idle first token {base:.1f} ms, "
                    f"p99 {lib.percentile(idle, 99):.1f} ms",
                )

    def begin_prefill(self, daemon):
        stream = lib.v1_stream(daemon.socket, self.prompts.long(), 16, "first")
        stream.send()
        time.sleep(0.2)
        return stream

    def begin_decode(self, daemon):
        stream = lib.v1_stream(daemon.socket, self.prompts.story(), 1000, "first")
        stream.send()
        for _ in range(5):
            stream.take()
        return stream


class CancelLog:
    """Follows the activity log for the records of cancelled requests."""

    def __init__(self, daemon):
        self.path = daemon.log
        self.file = open(self.path, "rb")
        self.file.seek(0, os.SEEK_END)
        self.held = b""

    def wait(self, request_id, limit=5.0):
        """The record of this request's cancellation with `at` in seconds of the wall clock; None if none comes."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            got = self.file.read()
            if not got:
                if os.stat(self.path).st_ino != os.fstat(self.file.fileno()).st_ino:  # rotated
                    self.file.close()
                    self.file = open(self.path, "rb")
                time.sleep(0.005)
                continue
            *lines, self.held = (self.held + got).split(b"\n")
            for line in lines:
                record = json.loads(line)
                if record.get("req_id") == request_id:
                    if record.get("msg") == "request_cancelled":
                        return {**record, "at": lib.wall_clock(record)}
                    if record.get("msg") == "request_done":
                        return None
        return None


class Occupant:
    """Keeps the only sequence busy: one long answer after the other, in a thread of its own."""

    def __init__(self, daemon, prompts):
        self.daemon = daemon
        self.asked = [prompts.story() for _ in range(64)]
        self.started, self.ended = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.occupy)

    def occupy(self):
        while self.asked and not self.ended.is_set():
            stream = lib.v1_stream(self.daemon.socket, self.asked.pop(), 4000, "occupant")
            stream.send()
            while not stream.finished and not self.ended.is_set():
                stream.take()
                # Only its being busy matters: nothing is kept.
                stream.parts, stream.times = stream.parts[-3:], []
                self.started.set()
            stream.close()

    def __enter__(self):
        self.thread.start()
        if not self.started.wait(30):
            lib.fail("the occupant gets no token")
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def main():
    rows = ["decode", "first", "many", "start", "cancel", "outside"]
    arguments = harness.parser(__doc__, rows).parse_args()
    harness.complete(arguments, rows)
    lib.warn_if_busy()
    facts, table = lib.machine(), lib.Table()
    with lib.Scratch() as folder:
        bench = Bench(arguments, folder, table)
        for row in rows:
            if row in arguments.chosen:
                getattr(bench, row)()
    for name, command in bench.details["commands"].items():
        print(f"{name.strip()}: {command}")
    table.print()
    if not arguments.no_results:
        table.write("model", facts, bench.details)
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
