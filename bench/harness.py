"""What model_bench.py and share_bench.py share: command line, model and peers, the processes of both sides. Standard
library only."""

import argparse
import hashlib
import os
import pathlib
import subprocess

import lib
import prompts

DEFAULT_MODEL = "models/blobs/sha256/b1/b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53/data"


def parser(description, rows):
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--build", type=pathlib.Path, default=lib.ROOT / "build/release", help="build folder of the programs"
    )
    made.add_argument("--daemon", type=pathlib.Path, help="another daemon than BUILD/bin/inferd-daemon")
    made.add_argument(
        "--peers",
        type=pathlib.Path,
        help="folder of llama-server and its like; default: built by scripts/llama-cpp.sh",
    )
    made.add_argument("--rows", default=",".join(rows), help="default: %(default)s")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--samples", type=int, default=50, help="cancelled requests of each kind")
    made.add_argument("--no-results", action="store_true", help="print only, leave bench/results/ alone")
    return made


def complete(arguments, rows):
    """Checks the command line and fills in what was left out."""
    arguments.chosen = arguments.rows.split(",")
    if unknown := set(arguments.chosen) - set(rows):
        lib.fail(f"unknown rows: {', '.join(sorted(unknown))}")
    arguments.daemon = arguments.daemon or arguments.build / "bin/inferd-daemon"
    arguments.peers = arguments.peers or find_peers()
    arguments.model = find_model()
    if not arguments.model.is_file():
        lib.fail(f"{arguments.model}: no model file; set INFERD_MODEL or run `make run ONCE=1` first")
    with open(arguments.model, "rb") as model:  # also brings it into the page cache
        arguments.sha256 = hashlib.file_digest(model, "sha256").hexdigest()


def find_model():
    if os.environ.get("INFERD_MODEL"):
        return pathlib.Path(os.environ["INFERD_MODEL"])
    return pathlib.Path.home() / ".local/share" / DEFAULT_MODEL


def find_peers():
    run = subprocess.run([lib.ROOT / "scripts/llama-cpp.sh", "--peers"], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        lib.fail("scripts/llama-cpp.sh --peers failed")
    return pathlib.Path(run.stdout.strip()).parent / "build/bin"


class Harness:
    def __init__(self, arguments, folder, table):
        self.arguments, self.folder, self.table = arguments, folder, table
        self.prompts = prompts.Prompts()
        self.threads = len(os.sched_getaffinity(0))
        self.started = 0
        self.details = {"threads": self.threads, "commands": {}, "model_sha256": arguments.sha256}

    def daemon(self, *more, for_others=False):
        """`for_others`: other users can enter the folder of its socket."""
        self.started += 1
        if for_others:
            self.folder.chmod(0o711)
        arguments = self.arguments
        daemon = lib.Daemon(
            arguments.daemon,
            self.folder / f"d{self.started}",
            ["--backend", "llamacpp", "--model-path", arguments.model, "--model-sha256", arguments.sha256, *more],
            folder_mode=0o711 if for_others else 0o700,
        )
        self.show("inferd-daemon " + " ".join(more), daemon.command)
        return daemon

    def server(self, sequences, cells, *more):
        options = ["-t", str(self.threads), "-np", str(sequences), "-c", str(cells), *more]
        server = lib.LlamaServer(
            self.arguments.peers / "llama-server", self.folder / "peer", self.arguments.model, options
        )
        self.show(" ".join(["llama-server", f"-np {sequences}", *more]), server.command)
        return server

    def show(self, name, command):
        """Prints a command line the first time."""
        if name not in self.details["commands"]:
            self.details["commands"][name] = " ".join(command)
            lib.note(" ".join(command))

    def ask(self, side, messages, max_tokens, **more):
        """One request to the daemon or to llama-server."""
        stream = side.stream(messages, max_tokens, **more)
        lib.run_streams([stream])
        return side.answer(stream)

    def same_variant(self, daemon, server):
        if "cpu_variant" in self.details:
            return
        ours, theirs = daemon.cpu_variant(), server.cpu_variant()
        self.details["cpu_variant"] = {"inferd-engine": ours, "llama-server": theirs}
        self.table.add(
            "same CPU variant as llama-server",
            float(ours == theirs),
            at_least=1,
            detail=f"{ours}, llama-server {theirs}",
        )
