#!/usr/bin/env python3
"""v1 on the mock backend against its floor, and the daemon's memory. See README.md.

bench/wire_bench.py [--build build/release] [--rounds 5] [--only load|memory]
"""

import argparse
import os
import pathlib
import resource
import socket
import subprocess
import time

import lib

MOCK = ["--backend", "mock", "--active-permits", "64", "--queue-depth", "64"]
CPU_RATIO, ROUND_TRIP_RATIO = 1.75, 1.8
ANONYMOUS_AT_START, ANONYMOUS_WITH_IDLE, RESIDENT_AT_START = 6, 26, 20  # MiB
IDLE_CONNECTIONS = 1000
LOGGED_REQUESTS = 20_000
REQUEST = b'{"id":"b","messages":[{"role":"user","content":"Say one short sentence about the sea."}]}\n'


def load(arguments, server, path, connections, requests, cpus=None, threads=1):
    """One run of wire_load; `cpus` is where its thread may run."""
    here = os.sched_getaffinity(0)
    try:
        if cpus:
            os.sched_setaffinity(0, cpus)  # the child inherits it
        run = subprocess.run(
            [
                arguments.load,
                "--socket",
                path,
                "--connections",
                str(connections),
                "--requests",
                str(requests),
                "--pid",
                str(server.pid),
                "--warmup",
                str(min(2000, requests) // threads * threads),
                "--threads",
                str(threads),
            ],
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        os.sched_setaffinity(0, here)
    if run.returncode != 0:
        lib.fail(f"wire_load: {run.stderr or run.stdout}")
    return lib.json.loads(run.stdout)


def alternate(arguments, floor, daemon, name, connections, requests, server_cpus=None, load_cpus=None, threads=1):
    """Floor, daemon, floor, daemon, ...: lists of wire_load's reports."""
    everywhere = os.sched_getaffinity(0)
    runs = {"floor": [], "daemon": []}
    for server, _ in (floor, daemon):
        server.place(server_cpus or everywhere)
    for round_ in range(arguments.rounds):
        for key, (server, path) in (("floor", floor), ("daemon", daemon)):
            runs[key].append(load(arguments, server, path, connections, requests, load_cpus, threads))
        lib.note(
            f"{name}, round {round_ + 1}: "
            + ", ".join(
                f"{key} {r[-1]['server_cpu_us_per_request']:.2f} us CPU, "
                f"{r[-1]['round_trip_us']['median']:.1f} us round trip"
                for key, r in runs.items()
            )
        )
    for server, _ in (floor, daemon):
        server.place(everywhere)
    return runs


def figures(runs, pick):
    return lib.median(pick(run) for run in runs["floor"]), lib.median(pick(run) for run in runs["daemon"])


def measure_load(arguments, folder, table):
    details = {}
    floor_path = folder / "floor.sock"
    with lib.Server([arguments.floor, floor_path], lib.clean_environment(folder)) as floor_process, lib.Daemon(
        arguments.daemon, folder / "load", MOCK
    ) as daemon_process:
        lib.retry_connect(floor_process, floor_path, time.monotonic() + 5).close()
        daemon_process.wait_ready()
        details["daemon_command"] = " ".join(daemon_process.command)
        floor, daemon = (floor_process, str(floor_path)), (daemon_process, str(daemon_process.socket))

        load(arguments, daemon_process, str(daemon_process.socket), 64, LOGGED_REQUESTS)
        time.sleep(1)
        records = sum(
            b'"msg":"request_done"' in line
            for path in daemon_process.logs.glob("inferd.ndjson*")
            for line in open(path, "rb")
        )
        table.add("activity log: request_done records per request", records / (LOGGED_REQUESTS + 2000), at_least=1)

        # One thread for all connections is the cheapest client there can be; it is shown beside the row that counts.
        requests = arguments.requests // 64 * 64
        for name, threads, target in (("64 connections", 64, CPU_RATIO), ("64 connections from one thread", 1, None)):
            many = details[name] = alternate(arguments, floor, daemon, name, 64, requests, threads=threads)
            base, ours = figures(many, lambda run: run["server_cpu_us_per_request"])
            table.add(
                f"{name}: server CPU, ratio to the floor",
                ours / base,
                at_most=target,
                detail=f"{ours:.2f} us, floor {base:.2f} us",
            )
        many = details["64 connections"]
        base, ours = figures(many, lambda run: run["requests_per_second"])
        table.add(
            "64 connections: requests per second, ratio to the floor",
            ours / base,
            detail=f"{ours:.0f}/s, floor {base:.0f}/s",
        )
        base, ours = figures(many, lambda run: run["round_trip_us"]["p99"])
        table.add(
            "64 connections: p99 round trip, ratio to the floor",
            ours / base,
            detail=f"{ours:.0f} us, floor {base:.0f} us",
        )

        # Where the scheduler puts client and server decides more than what the server does (see README.md), so each
        # placement is measured by itself.
        cpus = sorted(os.sched_getaffinity(0))
        placements = [("anywhere", None, None), ("on one CPU", {cpus[0]}, {cpus[0]})]
        if len(cpus) > 1:
            placements.insert(1, ("on a CPU each", {cpus[0]}, {cpus[1]}))
        for placement, server_cpus, load_cpus in placements:
            name = f"1 connection, {placement}"
            one = details[name] = alternate(
                arguments, floor, daemon, name, 1, arguments.requests_one, server_cpus, load_cpus
            )
            base, ours = figures(one, lambda run: run["round_trip_us"]["median"])
            table.add(
                f"{name}: median round trip, ratio to the floor",
                ours / base,
                at_most=ROUND_TRIP_RATIO,
                detail=f"{ours:.1f} us, floor {base:.1f} us",
            )
    return details


def idle_connections(path, count):
    idle = []
    for _ in range(count):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        idle.append(client)
    return idle


def answered(client):
    client.sendall(REQUEST)
    held = b""
    while b'"stop_reason"' not in held or not held.endswith(b"\n"):
        got = client.recv(65536)
        if not got:
            lib.fail("the daemon closed a connection")
        held += got


def measure_memory(arguments, folder, table):
    wanted = IDLE_CONNECTIONS + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    details = {}
    with lib.Daemon(arguments.daemon, folder / "memory", MOCK) as daemon:
        daemon.wait_ready()
        time.sleep(0.5)
        start = details["start"] = daemon.memory()
        table.add("memory at start: anonymous", start["RssAnon"], "MiB", at_most=ANONYMOUS_AT_START)
        table.add("memory at start: VmRSS", start["VmRSS"], "MiB", at_most=RESIDENT_AT_START)

        idle = idle_connections(str(daemon.socket), IDLE_CONNECTIONS)
        time.sleep(1)
        held = details["idle"] = daemon.memory()
        table.add(
            f"memory with {IDLE_CONNECTIONS} idle connections: anonymous",
            held["RssAnon"],
            "MiB",
            at_most=ANONYMOUS_WITH_IDLE,
            detail=f"VmRSS {held['VmRSS']:.1f} MiB",
        )
        for client in idle:
            answered(client)
        time.sleep(1)
        used = details["idle_after_one_request_each"] = daemon.memory()
        table.add(
            "  the same after one request on each: anonymous",
            used["RssAnon"],
            "MiB",
            detail=f"VmRSS {used['VmRSS']:.1f} MiB",
        )
        for client in idle:
            client.close()
        time.sleep(1)
        closed = details["closed"] = daemon.memory()
        table.add(
            "  the same after all have closed: anonymous",
            closed["RssAnon"],
            "MiB",
            detail=f"VmRSS {closed['VmRSS']:.1f} MiB",
        )
    return details


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--build", type=pathlib.Path, default=lib.ROOT / "build/release", help="build folder of the programs"
    )
    parser.add_argument("--daemon", type=pathlib.Path, help="another daemon than BUILD/bin/inferd-daemon")
    parser.add_argument("--programs", type=pathlib.Path, help="folder of wire_floor and wire_load, default BUILD/bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200_000, help="requests of one run at 64 connections")
    parser.add_argument("--requests-one", type=int, default=20_000, help="requests of one run at 1 connection")
    parser.add_argument("--only", choices=["load", "memory"])
    parser.add_argument("--no-results", action="store_true", help="print only, leave bench/results/ alone")
    arguments = parser.parse_args()
    programs = arguments.programs or arguments.build / "bench"
    arguments.daemon = arguments.daemon or arguments.build / "bin/inferd-daemon"
    arguments.floor, arguments.load = programs / "wire_floor", programs / "wire_load"
    for program in (arguments.floor, arguments.load):
        if not os.access(program, os.X_OK):
            lib.fail(f"{program} is not there: make build")

    lib.warn_if_busy()
    facts, details, table = lib.machine(), {}, lib.Table()
    with lib.Scratch() as folder:
        if arguments.only != "load":
            details["memory"] = measure_memory(arguments, folder, table)
        if arguments.only != "memory":
            details["load"] = measure_load(arguments, folder, table)
    table.print()
    if not arguments.no_results:
        table.write("wire", facts, details)
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
