#!/usr/bin/env python3
"""v1 on the mock backend while the disk of the activity log is full, and while it is written again, against the same
number of requests with room. Needs root, for a small disk of its own. See README.md.

bench/log_disk_full.py [--build build/release] [--rounds 5]
"""

import argparse
import json
import os
import pathlib
import subprocess
import time

import lib
import wire_bench

CONNECTIONS = 50
REQUESTS = 100_000
DISK_MIB = 128  # the daemon's own files there are at most 64 MiB of log
RATE_RATIO, ROUND_TRIP_RATIO = 0.95, 1.05


class SmallDisk:
    """A file system in memory, which a file can fill."""

    def __init__(self, path):
        self.path, self.filler = path, path / "filler"

    def __enter__(self):
        self.path.mkdir()
        options = f"size={DISK_MIB}m,mode=700"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", self.path], capture_output=True, text=True
        )
        if mounted.returncode != 0:
            lib.fail(f"a small disk cannot be mounted: {mounted.stderr.strip()} (run as root)")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.path], check=True)

    def fill(self):
        with open(self.filler, "wb", buffering=0) as filler:
            for size in (1 << 20, 4096):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def free(self):
        self.filler.unlink()


def status(daemon):
    """The lifecycle status that the admin socket tells now."""
    with lib.retry_connect(daemon, daemon.admin, time.monotonic() + 5) as admin:
        admin.settimeout(5)
        for line in admin.makefile("rb"):
            frame = json.loads(line)
            if frame["status"] != "capabilities":
                return frame
    lib.fail("the admin socket told no status")


def is_over(daemon):
    """True once the warning has gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if "warning" not in status(daemon):
            return True
        time.sleep(0.05)
    return False


def gaps(daemon):
    """Time and size of each gap that is announced in the files that are left."""
    found = {}
    for path in daemon.logs.glob("inferd.ndjson*"):
        for line in open(path, "rb"):
            if b'"msg":"lines_lost"' in line:
                record = json.loads(line)
                found[record["t"]] = record["count"]
    return found


def measure(arguments, disk, daemon):
    def load():
        return wire_bench.load(
            arguments, daemon, str(daemon.socket), CONNECTIONS, arguments.requests, threads=CONNECTIONS
        )

    runs = {"room": [], "full": [], "freed": []}
    seen, announced, warned, memory = {}, 0, 0, []
    for round_ in range(arguments.rounds):
        runs["room"].append(load())
        disk.fill()
        runs["full"].append(load())
        began = "warning" in status(daemon)
        memory.append(daemon.memory()["RssAnon"])
        disk.free()
        runs["freed"].append(load())  # meanwhile it notices, and writes what it has kept
        warned += began and is_over(daemon)
        time.sleep(0.5)  # the announcement follows the lines that were kept
        here = gaps(daemon)
        announced += bool(here.keys() - seen.keys())
        seen |= here
        lib.note(
            f"round {round_ + 1}: "
            + ", ".join(f"{name} {found[-1]['requests_per_second']}/s" for name, found in runs.items())
        )
    return {"runs": runs, "gaps": seen, "announced": announced, "warned": warned, "memory_full_mib": memory}


def report(arguments, table, taken):
    runs = taken["runs"]
    errors = sum(run["errors"] for name in ("full", "freed") for run in runs[name])
    table.add("requests that failed, disk full and freed", errors, at_most=0)
    for name, what in (("full", "disk full"), ("freed", "disk freed")):
        base, here = (lib.median(run["requests_per_second"] for run in runs[key]) for key in ("room", name))
        table.add(
            f"{what}: requests per second, ratio to room",
            here / base,
            at_least=RATE_RATIO,
            detail=f"{here:.0f}/s, with room {base:.0f}/s",
        )
        for key, target in (("median", ROUND_TRIP_RATIO), ("p99", None)):
            base, here = (lib.median(run["round_trip_us"][key] for run in runs[side]) for side in ("room", name))
            table.add(
                f"{what}: {key} round trip, ratio to room",
                here / base,
                at_most=target,
                detail=f"{here:.0f} us, with room {base:.0f} us",
            )
    lost = list(taken["gaps"].values())
    detail = f"{min(lost)} to {max(lost)} lines" if lost else "none"
    table.add("rounds whose gap was announced", taken["announced"], at_least=arguments.rounds, detail=detail)
    table.add("rounds in which admin warned, and stopped", taken["warned"], at_least=arguments.rounds)
    table.add("memory with the disk full: anonymous", lib.median(taken["memory_full_mib"]), "MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--build", type=pathlib.Path, default=lib.ROOT / "build/release", help="build folder of the programs"
    )
    parser.add_argument("--daemon", type=pathlib.Path, help="another daemon than BUILD/bin/inferd-daemon")
    parser.add_argument("--programs", type=pathlib.Path, help="folder of wire_load, default BUILD/bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--requests", type=int, default=REQUESTS, help=f"requests of one run, a multiple of {CONNECTIONS}"
    )
    parser.add_argument("--no-results", action="store_true", help="print only, leave bench/results/ alone")
    arguments = parser.parse_args()
    arguments.daemon = arguments.daemon or arguments.build / "bin/inferd-daemon"
    arguments.load = (arguments.programs or arguments.build / "bench") / "wire_load"
    if not os.access(arguments.load, os.X_OK):
        lib.fail(f"{arguments.load} is not there: make build")

    lib.warn_if_busy()
    facts, table = lib.machine(), lib.Table()
    with lib.Scratch() as folder, SmallDisk(folder / "disk") as disk:
        with lib.Daemon(arguments.daemon, disk.path / "inferd", wire_bench.MOCK) as daemon:
            daemon.wait_ready()
            taken = measure(arguments, disk, daemon)
    report(arguments, table, taken)
    table.print()
    if not arguments.no_results:
        table.write("log", facts, taken)
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
