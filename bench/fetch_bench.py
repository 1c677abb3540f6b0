#!/usr/bin/env python3
"""A model is fetched over HTTPS from nginx and killed again and again; a server stalls; hashing. See README.md.

    bench/fetch_bench.py [--build build/release] [--rows kills,whole,stall,hash] [--size 2048] [--kills 10]

It needs three times --size on the disk of TMPDIR (/tmp), and nginx (scripts/nginx.sh gets it).
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import lib

os.environ.setdefault("INFERD_E2E_DEADLINE", "120")  # of waits in https_servers: a stall is noticed after half a minute
sys.path.insert(0, str(lib.ROOT / "tests/e2e"))
from https_servers import Certificate, Nginx, Site, ranged  # noqa: E402

MIB = 1 << 20
NAME = "big"
TWICE_MIB, HASH_RATIO = 64, 0.95
LONGEST_FETCH = 600  # seconds
STALL_BYTES, STALL_AFTER = 8 * MIB, 3 * MIB
POLL_SECONDS = 0.002


class Pull:
    """One `inferdctl pull`, watched from outside and always waited for with end()."""

    def __init__(self, bench, url, sha256, name=NAME):
        self.out, self.err = bench.folder / "pull.out", bench.folder / "pull.err"
        command = [bench.arguments.ctl, "--json", "pull", url, "--sha256", sha256, "--name", name]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.begin = time.monotonic()
            self.process = subprocess.Popen(
                command, env=bench.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        self.pid = self.process.pid

    def written(self):
        """Bytes that it has given to write(), also after its end until it is waited for: the model's, and a record of
        some 250 bytes for every 2 MiB of them."""
        with open(f"/proc/{self.pid}/io") as counters:
            return int(next(line for line in counters if line.startswith("wchar:")).split()[1])

    def ended(self):
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, kill_after=None):
        """Waits for the end, or until so many bytes are written and kills it. The code is None for who was killed."""
        try:
            while not self.ended() and (kill_after is None or self.written() < kill_after):
                if time.monotonic() > self.begin + LONGEST_FETCH:
                    lib.fail(f"a fetch takes longer than {LONGEST_FETCH} s: {self.err.read_text()}")
                time.sleep(POLL_SECONDS)
            self.seconds = time.monotonic() - self.begin
        finally:
            os.kill(self.pid, signal.SIGKILL)  # nothing happens to who has ended and was not waited for
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self.received = self.written()
            code = self.process.wait()
        self.code = None if code == -signal.SIGKILL else code
        return self

    def had(self):
        """Bytes that were there when it began."""
        for line in self.out.read_bytes().split(b"\n")[:-1]:
            event = json.loads(line)
            if event.get("phase") == "download":
                return event["bytes"]
        lib.fail(f"inferdctl tells no progress: {self.err.read_text()}")

    def must_end_well(self):
        if self.code != 0:
            lib.fail(f"inferdctl pull ended with {self.code}: {self.err.read_text()}")


class Bench:
    def __init__(self, arguments, folder, table):
        self.arguments, self.folder, self.table = arguments, folder, table
        self.random = random.Random(arguments.seed)
        self.details = {"seed": arguments.seed}
        self.certificate = Certificate(folder)
        self.store = folder / "models"
        self.environment = lib.clean_environment(
            folder, MODELS_HOME=str(self.store), SSL_CERT_FILE=str(self.certificate.file)
        )
        self.size = arguments.size * MIB
        self.sha256 = None

    def blob(self, sha256):
        return self.store / "blobs/sha256" / sha256[:2] / sha256 / "data"

    def make_file(self):
        """The file that nginx serves: random, so that nothing can be saved by not sending it."""
        if self.sha256:
            return
        (self.folder / "root").mkdir()
        digest = hashlib.sha256()
        with open(self.folder / "root/model.gguf", "wb") as file:
            for _ in range(self.arguments.size):
                piece = os.urandom(MIB)
                digest.update(piece)
                file.write(piece)
            os.fsync(file.fileno())  # else it would be written while the clock runs
        self.sha256 = digest.hexdigest()
        lib.note(f"a file of {self.arguments.size} MiB is made")

    def nginx(self):
        self.make_file()
        folder = self.folder / f"nginx-{time.monotonic_ns()}"
        folder.mkdir()
        return Nginx(find_nginx(), self.certificate, self.folder / "root", folder)

    # ------------------------------------------------------------ killed again and again

    def kills(self):
        wanted = self.arguments.kills
        runs, early = [], 0
        nginx = self.nginx()
        try:
            points = sorted(self.random.sample(range(self.size // 50, self.size * 49 // 50), wanted))
            for before, point in zip([0, *points], points):
                run = Pull(self, nginx.url("model.gguf"), self.sha256).end(kill_after=point - before)
                runs.append({"had": run.had(), "received": run.received, "killed": run.code is None})
                early += self.blob(self.sha256).exists()
                lib.note(f"killed: {runs[-1]['had'] / MIB:.1f} MiB were there, {run.received / MIB:.1f} MiB came")
            last = Pull(self, nginx.url("model.gguf"), self.sha256).end()
            last.must_end_well()
            runs.append({"had": last.had(), "received": last.received, "killed": False})
            sent = sum(size for status, size in nginx.stop() if status in (200, 206))
        finally:
            nginx.kill()
        self.details["kills"] = {"runs": runs, "size": self.size, "nginx_bytes": sent}
        self.add_kill_rows(runs, early, sent)

    def add_kill_rows(self, runs, early, sent):
        table, wanted = self.table, self.arguments.kills
        lost = [a["had"] + a["received"] - b["had"] for a, b in zip(runs, runs[1:])]
        with open(self.blob(self.sha256), "rb") as blob:
            right = hashlib.file_digest(blob, "sha256").hexdigest() == self.sha256
        table.add(
            f"{self.arguments.size} MiB over HTTPS from nginx, killed {wanted} times: it goes on",
            sum(run["killed"] and next_["had"] > 0 for run, next_ in zip(runs, runs[1:])),
            at_least=wanted,
            detail=f"there at each start, MiB: {', '.join(str(run['had'] // MIB) for run in runs)}",
        )
        table.add(
            "  fetched twice, in all",
            (sum(run["received"] for run in runs) - self.size) / MIB,
            "MiB",
            at_most=TWICE_MIB,
            detail=f"most after one kill {max(lost) / MIB:.1f} MiB; nginx gave the kernel "
            f"{(sent - self.size) / MIB:.1f} MiB more than the file, what lay in its sockets at a kill counted",
        )
        table.add("  right under its final name, and only at the end", right and not early, at_least=1)

    # ------------------------------------------------------------ in one go

    def whole(self):
        """Leaves the model in the store."""
        nginx = self.nginx()
        rates = []
        try:
            for _ in range(self.arguments.rounds):
                shutil.rmtree(self.store, ignore_errors=True)
                run = Pull(self, nginx.url("model.gguf"), self.sha256).end()
                run.must_end_well()
                rates.append(self.arguments.size / run.seconds)
                lib.note(f"whole: {rates[-1]:.0f} MiB/s")
        finally:
            nginx.kill()
        self.details["whole_mib_per_second"] = rates
        self.table.add(
            f"{self.arguments.size} MiB in one go, hashed and on the disk",
            lib.median(rates),
            "MiB/s",
            detail="exec to exit; nginx runs on the same CPUs",
        )

    # ------------------------------------------------------------ a server that stalls

    def stall(self):
        content = self.random.randbytes(STALL_BYTES)
        sha256 = hashlib.sha256(content).hexdigest()
        site = Site(self.certificate, lambda get: ranged(content, get))
        try:
            site.hold(STALL_AFTER)
            pull = Pull(self, site.url(), sha256, "stalled")
            try:
                site.holding.wait(LONGEST_FETCH)
                begin = time.monotonic()
                while len(site.requests) < 2 and not pull.ended() and time.monotonic() < begin + LONGEST_FETCH:
                    time.sleep(0.1)
                noticed = time.monotonic() - begin
                site.go_on()
            finally:
                code = pull.end().code
        finally:
            site.close()
        blob = self.blob(sha256)
        right = code == 0 and blob.read_bytes() == content and len(site.requests) > 1
        self.details["stall"] = {"noticed_s": noticed, "requests": [get.range for get in site.requests]}
        self.table.add(
            "a server stalls in the middle: right in the end",
            right,
            at_least=1,
            detail=f"asked again after {noticed:.1f} s, from byte {site.requests[-1].range[0]} on",
        )

    # ------------------------------------------------------------ hashing

    def hash(self):
        self.make_file()
        if not self.blob(self.sha256).exists():
            command = [self.arguments.ctl, "import", self.folder / "root/model.gguf", "--name", NAME]
            subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)
        self.verify()  # brings it into the page cache
        rounds = []
        for _ in range(self.arguments.rounds):
            rounds.append({"verify": self.verify(), "openssl": self.openssl_speed()})
            lib.note("hash, MB/s: " + ", ".join(f"{key} {rate / 1e6:.0f}" for key, rate in rounds[-1].items()))
        self.details["hash_bytes_per_second"] = rounds
        ours, peer = (lib.median(r[key] for r in rounds) for key in ("verify", "openssl"))
        self.table.add(
            "hashing a blob / openssl speed sha256",
            ours / peer,
            at_least=HASH_RATIO,
            detail=f"{ours / 1e6:.0f} MB/s, openssl {peer / 1e6:.0f}; file in the page cache, exec to exit",
        )

    def verify(self):
        """Bytes a second of `inferdctl verify`."""
        begin = time.monotonic()
        run = subprocess.run([self.arguments.ctl, "verify", NAME], env=self.environment, capture_output=True, text=True)
        seconds = time.monotonic() - begin
        if run.returncode != 0:
            lib.fail(f"inferdctl verify ended with {run.returncode}: {run.stdout}{run.stderr}")
        return self.size / seconds

    def openssl_speed(self):
        command = ["openssl", "speed", "-mr", "-evp", "sha256", "-bytes", "16384", "-seconds", "3"]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        line = next(line for line in run.stdout.splitlines() if line.startswith("+F:"))
        return float(line.rsplit(":", 1)[1])


ROWS = {"kills": Bench.kills, "whole": Bench.whole, "stall": Bench.stall, "hash": Bench.hash}


def find_nginx():
    run = subprocess.run([lib.ROOT / "scripts/nginx.sh"], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        lib.fail("scripts/nginx.sh failed")
    return run.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--build", type=pathlib.Path, default=lib.ROOT / "build/release", help="build folder of the programs"
    )
    parser.add_argument("--rows", default=",".join(ROWS), help="default: %(default)s")
    parser.add_argument("--size", type=int, default=2048, help="of the file, in MiB")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--no-results", action="store_true", help="print only, leave bench/results/ alone")
    arguments = parser.parse_args()
    chosen = arguments.rows.split(",")
    if unknown := set(chosen) - set(ROWS):
        lib.fail(f"unknown rows: {', '.join(sorted(unknown))}")
    arguments.ctl = arguments.build / "bin/inferdctl"
    if not os.access(arguments.ctl, os.X_OK):
        lib.fail(f"{arguments.ctl} is not there: make build")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started here ends with it, as with Ctrl-C
    lib.warn_if_busy()
    facts, table = lib.machine(), lib.Table()
    with lib.Scratch() as folder:
        if shutil.disk_usage(folder).free < 3 * arguments.size * MIB:
            lib.fail(f"{folder} has too little room: set TMPDIR, or --size")
        bench = Bench(arguments, folder, table)
        for name in chosen:
            begin = time.monotonic()
            try:
                ROWS[name](bench)
            except SystemExit as failed:  # of lib.fail(): the other rows are worth having
                table.add(f"{name}: measured", 0, at_least=1, detail=str(failed))
            lib.note(f"{name}: {time.monotonic() - begin:.0f} s")
    table.print()
    if not arguments.no_results:
        table.write("fetch", facts, bench.details)
    raise SystemExit(1 if table.missed() else 0)


if __name__ == "__main__":
    main()
