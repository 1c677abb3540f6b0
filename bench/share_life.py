"""Rows of share_bench.py: cancelled requests, dying engines, answers of a busy daemon. Standard library only."""

import json
import os
import resource
import signal
import socket
import subprocess
import time

import lib
from share_sides import Crowd, touching, within

OTHERS, CANCEL_MS, CANCEL_GAP_RATIO = 7, 50, 1.5
CANCEL_PAUSE = 0.25  # between two cancels, so that each one's gaps are its own
BASE_SECONDS = 4.0
LONG_TOKENS = 4000
AFTERWARDS = 0.05  # seconds after the removal in which a gap may still be its work
STREAMS, WAITING, WAITING_ANSWER = 8, 8, 16
AGAIN_SECONDS, GROWTH_MIB, WARM_KILLS = 1.0, 1.0, 10
DEATH_SECONDS, SERVED_SECONDS = 15, 60
ADMIN_MS, ADMIN_SAMPLES, CTL_SAMPLES, ADMIN_PAUSE = 10, 200, 30, 0.05


# ---------------------------------------------------------------- cancel


def cancel(bench):
    with bench.inferd() as daemon:
        cancel_phase(bench, daemon, "prefill", {"running"})
        cancel_phase(bench, daemon, "decode", {"running"})
    # With the one configuration nobody waits behind seven streams.
    with bench.inferd({"--active-permits": OTHERS}) as daemon:
        cancel_phase(bench, daemon, "queue", {"queued", "prepared"})


def cancel_phase(bench, daemon, phase, states):
    wanted = bench.arguments.samples
    begin = {"prefill": begin_prefill, "decode": begin_decode, "queue": begin_queue}[phase]
    closes = {}
    with lib.Loop() as loop:
        crowd = Crowd(bench, daemon, loop, OTHERS)
        spans = base_spans(bench, daemon, loop, phase)
        for number in range(wanted + wanted // 5 + 1):
            request_id = f"{phase}-{number}"
            victim = begin(bench, daemon, loop, request_id)
            loop.forget(victim)
            closing = time.monotonic()
            too_far = victim.finished or (victim.parts and phase != "decode")
            closed_at = None if too_far else lib.close_now(victim, silent=phase != "decode")
            victim.close()
            closes[request_id] = (closed_at, closing)
            loop.run(until=closing + CANCEL_PAUSE)
        crowd.close()
    time.sleep(0.5)  # the log is written every few milliseconds
    gaps = crowd.gaps()
    records = {record["req_id"]: record for record in daemon.records("request_cancelled")}
    taken, around = [], []
    for request_id, (closed_at, closing) in closes.items():
        record = records.get(request_id)
        if closed_at is None or record is None or record["state"] not in states:
            continue  # it got further, or less far, than this row is about
        seconds = lib.wall_clock(record) - closed_at
        taken.append({"ms": seconds * 1e3, "state": record["state"]})
        around += touching(gaps, closing, closing + seconds + AFTERWARDS)
    if len(taken) < wanted:
        lib.fail(f"cancel in {phase}: {len(taken)} of {len(closes)} closes were such a cancel, {wanted} are wanted")
    same, alone = (within(gaps, *spans[key]) for key in ("same", "alone"))
    bench.details[f"cancel_{phase}"] = {
        "samples": taken,
        "gaps_ms": {key: facts(values) for key, values in (("around", around), ("same", same), ("alone", alone))},
    }
    values = [sample["ms"] for sample in taken]
    seen = {state: sum(sample["state"] == state for sample in taken) for state in sorted(states)}
    bench.table.add(
        f"cancel in {phase}, {OTHERS} streams beside: close() to cells free, p99",
        lib.percentile(values, 99),
        "ms",
        at_most=CANCEL_MS,
        detail=f"median {lib.median(values):.2f} ms, {len(values)} samples {seen}",
    )
    p99 = lib.percentile(around, 99)
    base = lib.percentile(same, 99)
    bench.table.add(
        "  p99 gap of the others around it / without the close",
        p99 / base,
        at_most=CANCEL_GAP_RATIO,
        detail=f"p99 {p99:.1f} ms of {len(around)}, without {base:.1f} ms of {len(same)}",
    )
    base = lib.percentile(alone, 99)
    bench.table.add("  the same / p99 gap of the streams alone", p99 / base, detail=f"alone {base:.1f} ms")


def facts(values):
    return {"samples": len(values), "median": lib.median(values), "p99": lib.percentile(values, 99)}


def base_spans(bench, daemon, loop, phase):
    """When the streams were alone, and when there was beside them what is closed later, but nobody closed it."""
    spans = {"alone": run_for(loop, BASE_SECONDS)}
    messages = bench.prompts.long(LONG_TOKENS) if phase == "prefill" else bench.prompts.story()
    beside = daemon.stream(messages, 2 if phase == "prefill" else 1000)
    loop.start(beside)
    begin = time.monotonic()
    if phase == "prefill":
        loop.run(until=begin + lib.STALL_SECONDS, done=lambda: beside.parts)
        spans["same"] = (begin, time.monotonic())
    else:
        if phase == "decode":
            loop.run(until=begin + lib.STALL_SECONDS, done=lambda: len(beside.parts) >= 5)
        spans["same"] = run_for(loop, BASE_SECONDS)
    loop.forget(beside)
    beside.close()
    loop.run(until=time.monotonic() + 1)
    return spans


def run_for(loop, seconds):
    begin = time.monotonic()
    loop.run(until=begin + seconds)
    return begin, time.monotonic()


def begin_prefill(bench, daemon, loop, request_id):
    victim = daemon.stream(bench.prompts.long(LONG_TOKENS), 16, request_id=request_id)
    loop.start(victim)
    loop.run(until=victim.sent_at + bench.prompts.random.uniform(0.15, 0.3))
    return victim


def begin_decode(bench, daemon, loop, request_id):
    victim = daemon.stream(bench.prompts.story(), 1000, request_id=request_id)
    loop.start(victim)
    loop.run(until=victim.sent_at + lib.STALL_SECONDS, done=lambda: len(victim.parts) >= 5)
    loop.run(until=time.monotonic() + bench.prompts.random.uniform(0, 0.05))  # anywhere within a step
    return victim


def begin_queue(bench, daemon, loop, request_id):
    victim = daemon.stream(bench.prompts.story(), 16, request_id=request_id)
    loop.start(victim)
    loop.run(until=victim.sent_at + bench.prompts.random.uniform(0.001, 0.06))  # before, while and after it is prepared
    return victim


# ---------------------------------------------------------------- the engine dies


def limit_memory(pid):
    """No more memory than it has: the next allocation fails. That one may be long in coming; see kill_engine()."""
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        resource.prlimit(pid, kind, (4096, 4096))


WAYS = {
    "SIGKILL": lambda pid: os.kill(pid, signal.SIGKILL),
    "SIGSEGV": lambda pid: os.kill(pid, signal.SIGSEGV),
    "SIGABRT": lambda pid: os.kill(pid, signal.SIGABRT),
    "memory limit": limit_memory,
    "SIGSTOP": lambda pid: os.kill(pid, signal.SIGSTOP),
}


def kill(bench):
    deaths = []
    with bench.inferd({"--active-permits": STREAMS, "--step-timeout-secs": 1}) as daemon:
        for number in range(bench.arguments.kills):
            way = list(WAYS)[number % len(WAYS)]
            death = one_death(bench, daemon, way)
            death |= {
                "daemon_rss_mib": daemon.memory()["VmRSS"],
                "daemon_files": len(os.listdir(f"/proc/{daemon.pid}/fd")),
            }
            deaths.append(death)
            if number % 10 == 9 or death["problems"]:
                again = f"{death['again_s']:.2f} s" if death["again_s"] is not None else "never"
                lib.note(f"{number + 1} deaths; {way}: serving again after {again} {'; '.join(death['problems'])}")
            if not death["daemon_alive"]:
                break
    bench.details["kill"] = deaths
    add_kill_rows(bench, deaths)


def add_kill_rows(bench, deaths):
    table, wanted = bench.table, bench.arguments.kills
    alive = sum(death["daemon_alive"] for death in deaths)
    ways = {way: sum(death["way"] == way for death in deaths) for way in WAYS}
    fallen_back = sum(death["fell_back"] for death in deaths)
    detail = ", ".join(f"{way} {n}" for way, n in ways.items())
    detail += f"; the memory limit alone did not end {fallen_back} engines, which were killed" if fallen_back else ""
    table.add(f"engine killed {wanted} times: the daemon lives on", alive, at_least=wanted, detail=detail)
    terminal = sum(death["one_terminal_frame"] for death in deaths)
    problems = sum(len(death["problems"]) for death in deaths)
    table.add(
        "  streams with exactly one terminal frame, backend_unavailable",
        terminal,
        at_least=wanted * STREAMS,
        detail=f"{problems} problems" + (f": {next(p for d in deaths for p in d['problems'])}" if problems else ""),
    )
    table.add("  waiting requests answered", sum(d["waiting_done"] for d in deaths), at_least=wanted * WAITING)
    again = [SERVED_SECONDS if death["again_s"] is None else death["again_s"] for death in deaths]
    table.add(
        "  from detection to the first token of a new engine, longest",
        max(again),
        "s",
        at_most=AGAIN_SECONDS,
        detail=f"median {lib.median(again):.3f} s, p99 {lib.percentile(again, 99):.3f} s",
    )
    warm = deaths[min(WARM_KILLS, len(deaths)) - 1]
    table.add(
        f"  growth of the daemon since the {WARM_KILLS}th death",
        deaths[-1]["daemon_rss_mib"] - warm["daemon_rss_mib"],
        "MiB",
        at_most=GROWTH_MIB,
        detail=f"VmRSS {warm['daemon_rss_mib']:.1f} MiB, {deaths[-1]['daemon_rss_mib']:.1f} MiB at the end; open files "
        f"{warm['daemon_files']}, {deaths[-1]['daemon_files']}",
    )
    if len(deaths) > 1:
        seen = {way: lib.median(d["seen_s"] for d in deaths if d["way"] == way) for way in WAYS if ways[way]}
        table.add(
            "  from the blow to its detection, median of all",
            lib.median(death["seen_s"] for death in deaths),
            "s",
            detail=", ".join(f"{way} {seconds:.3f} s" for way, seconds in seen.items()),
        )


def one_death(bench, daemon, way):
    streams = [daemon.stream(bench.prompts.story(), 1000, request_id=f"s{n}") for n in range(STREAMS)]
    waiting = [daemon.stream(bench.prompts.story(), WAITING_ANSWER, request_id=f"w{n}") for n in range(WAITING)]
    problems = []
    with lib.Loop() as loop:
        for stream in streams:
            loop.start(stream, on_end=lambda _: None)  # stays open: nothing may follow its terminal frame
        loop.run(until=time.monotonic() + SERVED_SECONDS, done=lambda: all(stream.parts for stream in streams))
        for stream in waiting:
            loop.start(stream, on_end=lambda _: None)
        loop.run(until=time.monotonic() + bench.prompts.random.uniform(0.05, 0.5))
        struck_at, fell_back = kill_engine(bench, daemon, loop, way, streams)
        loop.run(until=time.monotonic() + DEATH_SECONDS, done=lambda: all(stream.finished for stream in streams))
        loop.run(until=time.monotonic() + SERVED_SECONDS, done=lambda: all(stream.finished for stream in waiting))
        alive = daemon.process.poll() is None
        ends = [terminal_frames(stream) for stream in streams + waiting]
    for stream in streams + waiting:
        stream.close()
    good_streams = good_waiting = 0
    for n, found in enumerate(ends):
        if n < STREAMS and found == ["backend_unavailable"]:
            good_streams += 1
        elif n >= STREAMS and found == ["done"]:
            good_waiting += 1
        else:
            problems.append(f"{way}: {'stream' if n < STREAMS else 'waiting request'} ended with {found}")
    if not alive:
        problems.append(f"{way}: the daemon ended with {daemon.process.returncode}")
    seen_at = min((stream.times[-1] for stream in streams if stream.finished), default=struck_at + DEATH_SECONDS)
    served = [at for stream in waiting for at in daemon.token_times(stream)[:1] if at >= seen_at]
    return {
        "way": way,
        "fell_back": fell_back,
        "daemon_alive": alive,
        "one_terminal_frame": good_streams,
        "waiting_done": good_waiting,
        "seen_s": seen_at - struck_at,
        "again_s": min(served) - seen_at if served else None,
        "problems": problems,
    }


def kill_engine(bench, daemon, loop, way, streams):
    """When it was struck, and whether a memory limit had to be helped: an engine that allocates nothing does not notice
    one. A long prompt makes it allocate; then SIGKILL does what the kernel does to who is over a limit."""
    pid = daemon.engine_pid()
    if pid is None:
        lib.fail("the daemon has no engine")
    struck_at = time.monotonic()
    WAYS[way](pid)
    if way != "memory limit":
        return struck_at, False

    def dead():
        return any(stream.finished for stream in streams)

    loop.run(until=struck_at + 0.5, done=dead)
    if not dead():
        bait = daemon.stream(bench.prompts.long(LONG_TOKENS), 2)
        bait.send()
        loop.run(until=time.monotonic() + 1.5, done=dead)
        bait.close()
    if dead():
        return struck_at, False
    struck_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return struck_at, True


def terminal_frames(stream):
    """`done` or the error's code of each terminal frame that has come by now."""
    try:
        while not stream.parts or stream.parts[-1]:
            stream.parts.append(stream.socket.recv(65536, socket.MSG_DONTWAIT))
            stream.times.append(time.monotonic())
    except (BlockingIOError, ConnectionError):
        pass
    found = []
    for _, line in stream.lines():
        frame = json.loads(line)
        if frame["type"] != "token":
            found.append(frame["code"] if frame["type"] == "error" else frame["type"])
    return found


# ---------------------------------------------------------------- admin and status


def admin(bench):
    """Eight streams decode and eight wait, which takes as many permits as streams."""
    lines, statuses, programs = [], [], []
    program = bench.arguments.daemon.parent / "inferdctl"
    with bench.inferd({"--active-permits": STREAMS}) as daemon, lib.Loop() as loop:
        crowd = Crowd(bench, daemon, loop, STREAMS + WAITING, running=STREAMS)
        for _ in range(ADMIN_SAMPLES):
            loop.run(until=time.monotonic() + ADMIN_PAUSE)
            line, status = admin_times(daemon.admin)
            lines.append(line * 1e3)
            statuses.append(status * 1e3)
        for _ in range(CTL_SAMPLES):
            loop.run(until=time.monotonic() + ADMIN_PAUSE)
            begin = time.monotonic()
            run = subprocess.run(
                [program, "--admin-addr", daemon.admin, "status"],
                env=lib.clean_environment(bench.folder),
                stdout=subprocess.DEVNULL,
            )
            programs.append((time.monotonic() - begin) * 1e3)
            if run.returncode != 0:
                lib.fail(f"inferdctl status ended with {run.returncode}")
        busy = crowd.count_running()
        crowd.close()
    bench.details["admin_ms"] = {"first_line": lines, "status": statuses, "inferdctl_status": programs}
    bench.table.add(
        f"admin, {STREAMS} streams decode, {WAITING} wait: connect to `status`, p99",
        lib.percentile(statuses, 99),
        "ms",
        at_most=ADMIN_MS,
        detail=f"median {lib.median(statuses):.2f} ms, first line p99 {lib.percentile(lines, 99):.2f} ms, "
        f"{len(statuses)} samples, {busy} running at the end",
    )
    bench.table.add(
        "  inferdctl status, exec to exit, p99",
        lib.percentile(programs, 99),
        "ms",
        detail=f"median {lib.median(programs):.2f} ms, {len(programs)} samples",
    )


def admin_times(path):
    """Seconds from connect() to the first line and to the line that says how the daemon is."""
    begin = time.monotonic()
    first, held = None, b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        while b'"status":"ready"' not in held or not held.endswith(b"\n"):
            got = client.recv(65536)
            if not got:
                lib.fail(f"the admin socket said {held.decode(errors='replace')}")
            held += got
            if first is None and b"\n" in held:
                first = time.monotonic()
        return first - begin, time.monotonic() - begin
