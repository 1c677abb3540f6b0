"""Rows of share_bench.py: one caller beside a greedy one, a long prompt beside running streams. Standard library
only."""

import json
import os
import signal
import subprocess
import sys
import time

import lib
from share_sides import SLOTS, STREAM_TOKENS, Crowd, touching, within

IDLE_SAMPLES, IDLE_PAUSE = 12, 0.4
EVERY_SECONDS, ASKED_ANSWER = 4.0, 16
HOG_STREAMS, HOG_TOKENS, HOG_ANSWER = 16, 1500, 16
BATCH_WAIT, BATCH_SHARE, INTERACTIVE_WAIT = 3.0, 0.9, 10.0
NOBODY = 65534
SETTLE_SECONDS = 1.0  # until what a hog left behind is gone
CALM_SECONDS, ARRIVAL_SECONDS = 4.0, 60
GAP_RATIO, ARRIVAL_RATIO = 2.5, 2.0
LONG_TOKENS, LONE_STREAM_TOKENS = 4000, 4000
TRIES = 12


# ---------------------------------------------------------------- a greedy process


class Hog:
    """share_hog.py in a process of its own; each one asks other prompts."""

    seed = 1000

    def __init__(self, side, priority="interactive", uid=None):
        Hog.seed += 1
        where = ["--port", side.port] if isinstance(side, lib.LlamaServer) else ["--socket", side.socket]
        command = [sys.executable, lib.ROOT / "bench/share_hog.py", *where, "--priority", priority]
        command += ["--streams", HOG_STREAMS, "--tokens", HOG_TOKENS, "--answer", HOG_ANSWER, "--seed", Hog.seed]
        command += ["--uid", uid] if uid else []
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        if not self.process.stdout.readline():
            lib.fail("share_hog.py failed")

    def ended(self):
        return self.process.poll() is not None

    def drain(self):
        """Sends no more; it ends with its last answer."""
        self.process.send_signal(signal.SIGUSR1)

    def report(self):
        """Ends it if need be."""
        if not self.ended():
            self.process.terminate()
        self.process.wait(30)
        said = self.process.stdout.read()
        return json.loads(said) if said else lib.fail("share_hog.py failed")  # it has said why on standard error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.ended():
            self.process.kill()
            self.process.wait()


def tokens_per_second(report):
    """Whole prompts and answers, from the first request sent to the end of the last answer: nothing is half done."""
    tokens = report["prompt_tokens"] + report["completion_tokens"]
    return tokens / (report["last_at"] - report["sent_at"]) if tokens else 0.0


def fair(bench):
    rounds = []
    others = os.geteuid() == 0
    if not others:
        lib.note("fair: not root, so nobody of another uid can be had: that row is left out")
    with bench.inferd({"--group": "nogroup"} if others else {}, for_others=others) as daemon:
        for _ in range(bench.arguments.rounds):
            taken = {"idle": idle(bench, daemon)}
            taken["batch alone"] = beside_hog(bench, daemon, asked=False, drained=True, priority="batch")
            taken["batch"] = beside_hog(bench, daemon, asked=True, drained=True, priority="batch")
            taken["process"] = beside_hog(bench, daemon)
            if others:
                taken["user"] = beside_hog(bench, daemon, uid=NOBODY)
            rounds.append(taken)
            lib.note(
                "fair: " + ", ".join(f"{k} {lib.percentile(v['first_ms'] or [0], 99):.0f} ms" for k, v in taken.items())
            )
    bench.details["fair"] = {"rounds": rounds}
    base = lib.median(ms for taken in rounds for ms in taken["idle"]["first_ms"])
    fair_row(bench, rounds, "batch", "16 prompts as batch from another process", base, BATCH_WAIT)
    alone, beside = (
        lib.median(tokens_per_second(taken[key]["hog"]) for taken in rounds) for key in ("batch alone", "batch")
    )
    bench.table.add(
        "  batch throughput / alone",
        beside / alone,
        at_least=BATCH_SHARE,
        detail=f"{beside:.0f} tokens/s, alone {alone:.0f}",
    )
    fair_row(bench, rounds, "process", "16 prompts as interactive from another process", base, INTERACTIVE_WAIT)
    if others:
        fair_row(bench, rounds, "user", f"16 prompts as interactive from uid {NOBODY}", base, INTERACTIVE_WAIT)
    peers = bench.details["fair"]["llama_server"] = fair_peers(bench)  # last: what it may fail at costs no row
    for name, taken in peers.items():
        bench.table.add(
            f"  for information: {name}, the same / its idle",
            lib.percentile(taken["beside"]["first_ms"], 99) / lib.median(taken["idle"]["first_ms"]),
            detail=f"median {lib.median(taken['beside']['first_ms']):.0f} ms, "
            f"idle {lib.median(taken['idle']['first_ms']):.1f} ms, 1 round",
        )


def fair_row(bench, rounds, key, what, base, target):
    values = [ms for taken in rounds for ms in taken[key]["first_ms"]]
    errors = {code: n for taken in rounds for code, n in taken[key]["hog"]["errors"].items()}
    bench.table.add(
        f"beside {what}: first token p99 / idle",
        lib.percentile(values, 99) / base,
        at_most=target,
        detail=f"p99 {lib.percentile(values, 99):.0f} ms, median {lib.median(values):.0f} ms of {len(values)}, "
        f"idle median {base:.1f} ms" + (f"; errors {errors}" if errors else ""),
    )


def fair_peers(bench):
    """For information: both kinds of llama-server, which have no classes and no callers."""
    taken = {}
    for unified in (False, True):
        with bench.llama_server(unified) as server:
            taken[server.name] = {"idle": idle(bench, server), "beside": beside_hog(bench, server)}
            lib.note(f"fair: {server.name} {lib.percentile(taken[server.name]['beside']['first_ms'], 99):.0f} ms")
    return taken


def idle(bench, side):
    firsts = []
    for _ in range(IDLE_SAMPLES):
        time.sleep(IDLE_PAUSE)
        firsts.append(bench.ask(side, bench.prompts.short(), ASKED_ANSWER).first_token_ms())
    return {"first_ms": firsts}


def beside_hog(bench, side, asked=True, drained=False, **hog):
    """First-token times of one request every four seconds while the hog keeps its prompts in flight. With `drained`
    the hog's own last prompts are waited for, so that its throughput can be told, and the requests go on meanwhile."""
    streams, late = [], []
    with Hog(side, **hog) as greedy, lib.Loop() as loop:
        start = time.monotonic()
        asked_at = start + EVERY_SECONDS / 4

        def ask(into):
            into.append(side.stream(bench.prompts.short(), ASKED_ANSWER))
            loop.start(into[-1])

        while asked_at < start + bench.arguments.fair_seconds:
            loop.run(until=asked_at)
            if asked:
                ask(streams)
            asked_at += EVERY_SECONDS
        loop.run(until=start + bench.arguments.fair_seconds)
        loop.run(stall=600)  # the hog goes on until all of these have their answers
        if drained:
            greedy.drain()
            while not greedy.ended():
                if asked and time.monotonic() >= asked_at:
                    ask(late)
                    asked_at += EVERY_SECONDS
                loop.run(until=time.monotonic() + 0.1)
            loop.run()
        report = greedy.report()
    time.sleep(SETTLE_SECONDS)
    first_ms = [side.answer(stream).first_token_ms() for stream in streams]
    late_ms = [side.answer(stream).first_token_ms() for stream in late]
    return {"first_ms": first_ms, "while_draining_ms": late_ms, "hog": report}


# ---------------------------------------------------------------- a long prompt arrives


def arrival(bench):
    crowds, peer_crowds = (1, 8), (1, SLOTS - 1)  # behind eight streams llama-server has no slot for the prompt
    rounds, lasting = [], {}
    with bench.inferd() as daemon:
        for _ in range(bench.arguments.rounds):
            rounds.append(arrival_round(bench, daemon, crowds, lasting))
    with bench.llama_server(True) as server:  # without --kv-unified a slot holds 2,048 tokens
        peer = arrival_round(bench, server, peer_crowds, lasting)
    bench.details["arrival"] = {"rounds": rounds, "llama_server": peer}
    alone = lib.median(taken["alone_ms"] for taken in rounds)
    for size, peer_size in zip(crowds, peer_crowds):
        figures = {
            key: lib.median(taken[size][key] for taken in rounds)
            for key in ("calm_p99_ms", "calm_median_ms", "beside_p99_ms", "beside_median_ms", "first_ms")
        }
        under = f"under {size} stream{'s' if size > 1 else ''}"
        theirs = peer[peer_size]
        bench.table.add(
            f"a prompt of {LONG_TOKENS} {under}: p99 gap / undisturbed p99",
            figures["beside_p99_ms"] / figures["calm_p99_ms"],
            at_most=GAP_RATIO,
            detail=f"p99 {figures['beside_p99_ms']:.1f} ms, undisturbed {figures['calm_p99_ms']:.1f} ms; medians "
            f"{figures['beside_median_ms']:.1f} ms, {figures['calm_median_ms']:.1f} ms",
        )
        bench.table.add(
            f"a prompt of {LONG_TOKENS} {under}: its first token / alone",
            figures["first_ms"] / alone,
            at_most=ARRIVAL_RATIO,
            detail=f"{figures['first_ms']:.0f} ms, alone {alone:.0f} ms",
        )
        bench.table.add(
            f"  for information: llama-server --kv-unified, {peer_size} streams, p99 gap / undisturbed p99",
            theirs["beside_p99_ms"] / theirs["calm_p99_ms"],
            detail=f"p99 {theirs['beside_p99_ms']:.0f} ms, undisturbed {theirs['calm_p99_ms']:.1f} ms; first token "
            f"{theirs['first_ms']:.0f} ms, alone {peer['alone_ms']:.0f} ms, 1 round",
        )


def arrival_round(bench, side, crowds, lasting):
    """`lasting`: for each size the prompts of streams that have not ended by themselves; they are asked again."""
    taken = {"alone_ms": bench.ask(side, bench.prompts.long(LONG_TOKENS), 2).first_token_ms()}
    for size in crowds:
        taken[size] = arrival_under(bench, side, size, lasting)
    lib.note(f"arrival, {side.name}: {json.dumps(taken)}")
    return taken


def arrival_under(bench, side, size, lasting):
    for _ in range(TRIES):
        with lib.Loop() as loop:
            tokens = LONE_STREAM_TOKENS if size == 1 else STREAM_TOKENS
            crowd = Crowd(bench, side, loop, size, tokens, asked=lasting.get(size, []))
            calm_from = time.monotonic()
            loop.run(until=calm_from + CALM_SECONDS)
            calm_to = time.monotonic()
            arriving = side.stream(bench.prompts.long(LONG_TOKENS), 2)
            loop.start(arriving)
            loop.run(until=calm_to + ARRIVAL_SECONDS, done=lambda: arriving.finished)
            ended, lasting[size] = crowd.ended, crowd.lasting()
            crowd.close()
        time.sleep(SETTLE_SECONDS)
        if not arriving.finished:
            lib.fail(f"a prompt of {LONG_TOKENS} tokens has no answer after {ARRIVAL_SECONDS} s")
        if ended:
            lib.note(f"{ended} of {size} streams ended by themselves: again, with other prompts for these")
            continue
        answer = side.answer(arriving)
        gaps = crowd.gaps()
        calm = within(gaps, calm_from, calm_to)
        beside = touching(gaps, arriving.sent_at, answer.token_times[0])
        return {
            "calm_p99_ms": lib.percentile(calm, 99),
            "calm_median_ms": lib.median(calm),
            "beside_p99_ms": lib.percentile(beside, 99),
            "beside_median_ms": lib.median(beside),
            "gaps": [len(calm), len(beside)],
            "first_ms": answer.first_token_ms(),
        }
    lib.fail("arrival: streams keep ending by themselves")
