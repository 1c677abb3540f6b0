#!/usr/bin/env python3
"""Random load for a while: nothing lost, nothing mixed up, nothing stuck, memory flat (issue "2 of 5": one hour).

    tests/soak/soak.py [--seconds 3600] [--seed N] [--kills N] [--processes 4] [--clients 4] [--stall 600] [-- DAEMON OPTIONS]

Starts a daemon with the default model (INFERD_MODEL, INFERD_BIN_DIR as for the tests; release programs if they are there) in a place of its
own and client processes that ask it over its Unix socket, as root half of them as another user. Each request is drawn by lot: its size,
class, beginning (shared or not), stream, progress, grammar, and whether and when its client hangs up. Ends by itself.

Checked: each frame has its request's id; each request that was not hung up gets exactly one terminal frame, in time; `recitals` (requests
whose greedy answer is known, see e2e/recital.py) give their own client's text; grammars hold; refusals have the right code; only a
kill makes `backend_unavailable`; no engine dies unasked; resident memory's median of the last quarter is that of the second; afterwards
every place is usable and the daemon ends with 0. Exit code 0 or 1; the last line sums up.
"""
from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import queue
import random
import re
import signal
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PERMITS, QUEUE = 8, 6
OPTIONS = ("--queue-depth", str(QUEUE), "--host-cache-bytes", str(32 << 20))  # a small budget: it is full, and so flat, soon
SAMPLES = 24                    # of memory at least; one a minute of an hour
GROWTH, GROWTH_MIB = 0.05, 8    # what counts as flat
ODD_TRIES = 20                  # of a wrong recital, see `is_fault`
ODD_MOST = 20
FAILURES_SHOWN = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--kills", type=int, default=0, help="SIGKILLs of the engine, spread over the time")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--clients", type=int, default=4, help="of each process, a connection at a time")
    parser.add_argument("--stall", type=float, default=600, help="seconds without a frame after which a request counts as stuck")
    parser.add_argument("daemon_options", nargs="*", help="after --")
    return parser.parse_args()


ARGS = arguments()
os.environ["INFERD_E2E_DEADLINE"] = str(ARGS.stall)
if "INFERD_BIN_DIR" not in os.environ and (ROOT / "build/release/bin/inferd-daemon").exists():
    os.environ["INFERD_BIN_DIR"] = str(ROOT / "build/release/bin")
sys.path.insert(0, str(ROOT / "tests/e2e"))
try:
    from callers import open_to
    from clients import client_process, short
    from daemon_process import Daemon, Place
    from llama_fixtures import ENGINE, MODEL, endless, engines, llama_options, running
    from recital import lines_of, recital
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run it with the Python of the tests: "
             "$(scripts/python-env.sh tests -r tests/requirements.txt)/bin/python tests/soak/soak.py")


class Shared:
    """What all processes look at."""

    def __init__(self, context) -> None:
        self.seconds, self.seed, self.clients, self.stall = ARGS.seconds, ARGS.seed, ARGS.clients, ARGS.stall
        self.begin = time.monotonic()
        self.end = self.begin + self.seconds
        self.stop = context.Event()
        self.kills = context.Array("d", max(ARGS.kills, 1))  # when; 0: not yet


def resident_mib(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class Memory:
    """Samples of resident memory: of the daemon, and of the engine."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.samples = daemon, {"daemon": [], "engine": []}

    def sample(self, seconds: float) -> None:
        pids = engines(self.daemon.pid)
        try:
            now = {"daemon": resident_mib(self.daemon.pid), **{"engine": resident_mib(pid) for pid in pids[:1]}}
        except (OSError, TypeError):  # ended meanwhile
            return
        for who, mib in now.items():
            self.samples[who].append((seconds, mib))
        print(f"{seconds:6.0f} s  " + "  ".join(f"{who} {mib:.1f} MiB" for who, mib in now.items()), flush=True)

    def median(self, who: str, quarter: int) -> float:
        part = [mib for at, mib in self.samples[who] if quarter <= 4 * at / ARGS.seconds <= quarter + 1]
        return statistics.median(part) if part else 0.0

    def growth(self) -> list[str]:
        """What is not flat. An engine that was started anew has a warm-up of its own."""
        found = []
        for who in ("daemon",) if ARGS.kills else ("daemon", "engine"):
            before, after = self.median(who, 1), self.median(who, 3)
            if before == 0 or after > before * (1 + GROWTH) + GROWTH_MIB:
                found.append(f"memory of the {who} grew from {before:.1f} to {after:.1f} MiB")
        return found

    def told(self) -> str:
        return ", ".join(f"{who} {self.median(who, 1):.1f} -> {self.median(who, 3):.1f} MiB" for who in self.samples)


class Killer:
    """Kills the engine at times that were drawn by lot, and sees to it that it does not die otherwise."""

    def __init__(self, daemon: Daemon, shared: Shared) -> None:
        self.daemon, self.shared = daemon, shared
        dice = random.Random(f"{ARGS.seed} kills")
        self.times = sorted(shared.begin + ARGS.seconds * (0.05 + 0.9 * dice.random()) for _ in range(ARGS.kills))
        self.done = 0
        self.pid, self.killed = (engines(daemon.pid) or [0])[0], False

    def look(self) -> str | None:
        """Kills if it is time; tells of an engine that ended by itself."""
        pids = engines(self.daemon.pid)
        if not self.killed and pids != [self.pid]:
            self.killed = True  # tell it once
            return f"the engine {self.pid} is not there any more, but {pids}"
        if self.killed and pids and pids[0] != self.pid:
            self.pid, self.killed = pids[0], False
        if not self.killed and self.done < len(self.times) and time.monotonic() > self.times[self.done]:
            self.shared.kills[self.done] = time.monotonic()
            os.kill(self.pid, signal.SIGKILL)
            self.done, self.killed = self.done + 1, True
        return None


def load(daemon: Daemon, group: int | None) -> tuple[list[str], list, collections.Counter, Memory]:
    """Lets the clients loose; returns what went wrong, wrong recitals, what was done, and the memory meanwhile."""
    context = multiprocessing.get_context("fork")
    shared, told = Shared(context), context.Queue()
    processes = [context.Process(target=client_process, args=(daemon.v1, n, group if n % 2 else None, shared, told), daemon=True)
                 for n in range(ARGS.processes)]
    for process in processes:
        process.start()
    try:
        return watch(daemon, shared, told, processes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def watch(daemon: Daemon, shared: Shared, told, processes) -> tuple[list[str], list, collections.Counter, Memory]:
    """Samples, kills and collects until all clients have ended."""
    memory, killer = Memory(daemon), Killer(daemon, shared)
    failures, odd, counts, ended = [], [], collections.Counter(), 0
    interval = min(60.0, ARGS.seconds / SAMPLES)
    next_sample = shared.begin + interval
    limit = shared.end + 2 * ARGS.stall + 60  # every client may have one more request, and some patience
    while ended < len(processes) and time.monotonic() < limit:
        try:
            kind, what = told.get(timeout=0.05)
        except queue.Empty:
            kind = ""
            if not any(process.is_alive() for process in processes) and told.empty():
                break
        if kind == "failed":
            failures.append(what)
        elif kind == "odd":
            odd.append(what)
        elif kind == "ended":
            counts, ended = counts + what, ended + 1
        if daemon.process.poll() is not None:
            failures.append(f"the daemon ended with {daemon.process.returncode}")
            break
        if problem := killer.look():
            failures.append(problem)
        if failures:
            shared.stop.set()  # the others finish what they have begun
        if time.monotonic() > next_sample and next_sample < shared.end + interval / 2:
            memory.sample(time.monotonic() - shared.begin)
            next_sample += interval
    if ended < len(processes):
        failures.append(f"{len(processes) - ended} client processes did not end")
    if killer.done < ARGS.kills and not failures:
        failures.append(f"only {killer.done} of {ARGS.kills} kills were possible")
    counts["kills"], counts["odd recitals"] = killer.done, len(odd)
    return failures, odd, counts, memory


def is_fault(daemon: Daemon, asked: dict, text: str) -> bool:
    """Whether a wrong recital cannot be explained by two tokens that are about equally likely, so that the other requests of a batch, which
    change the last bits, decide: asked alone it comes out right each time, although it is sampled."""
    conn = daemon.connect()
    alone = {"messages": asked["messages"], "max_tokens": asked["max_tokens"], "stream": False, "temperature": 0.3, "top_k": 0, "top_p": 1}
    return all(conn.send({**alone, "id": "again", "seed": seed}).answer()[-1]["content"] == text for seed in range(ODD_TRIES))


def every_place_is_usable(daemon: Daemon) -> None:
    """Afterwards: all sequences stream side by side, and the answer of a recital is right."""
    conns = [running(daemon, endless(str(n))) for n in range(PERMITS)]
    for conn in conns * 3:
        assert conn.frame()["type"] == "token"
    for conn in conns:
        conn.close()
    done = daemon.connect().send(recital(lines_of(1), id="last")).answer()[-1]
    assert done["type"] == "done" and done["content"] == lines_of(1), done


def main() -> int:
    if not ENGINE.exists() or not MODEL.is_file():
        sys.exit(f"{ENGINE} and {MODEL} are needed: make build model")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started here, too
    options = [*OPTIONS, *ARGS.daemon_options]
    if "--threads" not in options:
        options += ["--threads", str(len(os.sched_getaffinity(0)))]
    print(f"soak: {ARGS.seconds:.0f} s, seed {ARGS.seed}, {ARGS.processes} processes of {ARGS.clients} clients, {ARGS.kills} kills, "
          f"{ENGINE.parent}", flush=True)
    place = Place()
    group = None if os.geteuid() else open_to(place)
    if group:
        options += ["--group", group.gr_name]
    daemon = Daemon(place, *llama_options(*options))
    failures, counts, memory = [], collections.Counter(), Memory(daemon)
    try:
        daemon.wait_ready()
        failures, odd, counts, memory = load(daemon, group.gr_gid if group else None)
        for asked, text, said in odd[:ODD_MOST]:
            print(f"{asked['id']} said {said[:200]!r} instead of {text!r}", flush=True)
        if not failures:
            failures += memory.growth()
            failures += [f"the answer of {short(asked)} was wrong: {said!r}"
                         for asked, text, said in odd[:ODD_MOST] if is_fault(daemon, asked, text)]
            if len(odd) > ODD_MOST:
                failures.append(f"{len(odd)} of {counts['recitals']} recitals were wrong")
            if not (counts["done"] and counts["hung up"]):
                failures.append("nothing was done")
            every_place_is_usable(daemon)
        daemon.stop()
    except (AssertionError, OSError, KeyboardInterrupt) as error:
        failures.append(f"{type(error).__name__}: {error}")
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        if failures:
            kept = Path(f"/tmp/soak-{ARGS.seed}.log")
            kept.write_text(daemon.output)
            failures.append(f"what the daemon said is in {kept}")
        place.remove()
    for failure in failures[:FAILURES_SHOWN]:
        print(failure, file=sys.stderr)
    print(f"soak: {'FAILED' if failures else 'ok'}: seed {ARGS.seed}; {json.dumps(counts)}; resident {memory.told()}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
