"""What the tests of fetching share: a model store in a test's place, a site that serves one model to it, and pulls.

Test files import the fixtures that they use by name.
"""
from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import tempfile
from pathlib import Path
from random import Random

import pytest

from daemon_process import CTL, SANITIZER_MARKS, Place, until
from https_servers import Certificate, Get, Reply, Site, ranged
from wire import DEADLINE

MIB = 1 << 20
NAME = "tiny"  # of the model in the store
CONTENT = Random(1).randbytes(8 * MIB)  # no model; enough for a file that nobody loads


class Pull:
    """One `inferdctl --json ... pull`, in the background."""

    def __init__(self, place: Place, *args: str | Path, env: dict | None = None) -> None:
        folder = Path(tempfile.mkdtemp(prefix="pull-", dir=place.base))
        self.out, self.err = folder / "out", folder / "err"
        env = place.env | (env or {})
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen([CTL, "--json", *args], env=env, cwd=place.base, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=err)

    @property
    def events(self) -> list[dict]:
        """Those that it has told so far."""
        return [json.loads(line) for line in self.out.read_bytes().split(b"\n")[:-1]]

    @property
    def errors(self) -> str:
        return self.err.read_text()

    def told(self, phase: str) -> dict:
        """Waits for the first event of this phase."""
        def find() -> dict | None:
            return next((event for event in self.events if event.get("phase") == phase), None)
        return until(find, f"inferdctl tells {phase}")

    def ends(self, code: int = 0, says: str = "") -> list[dict]:
        """Waits for its end and returns its events; `says`: how a line begins that it writes to stderr."""
        try:
            ended = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"not within {DEADLINE:.0f} s: inferdctl ends: {self.events} {self.errors}") from None
        assert not any(mark in self.errors for mark in SANITIZER_MARKS), self.errors
        assert ended == code, (ended, self.events, self.errors)
        assert not says or any(line.startswith(says) for line in self.errors.splitlines()), self.errors
        return self.events

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Fetching:
    """A store in `place` that is to get `content` from `site`, which serves it well until a test says otherwise."""

    def __init__(self, place: Place, certificate: Certificate, content: bytes) -> None:
        self.place, self.content, self.pulls = place, content, []
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.root = place.base / "models"
        group = self.root / "blobs/sha256" / self.sha256[:2]
        self.blob = group / self.sha256 / "data"
        self.partial = group / f".partial-{self.sha256}" / "data.tmp"
        self.manifest = self.root / "manifests" / f"{NAME}.json"
        self.site = Site(certificate, self.serve)
        self.trust(place)

    def serve(self, get: Get) -> Reply:
        return ranged(self.content, get)

    def trust(self, place: Place) -> None:
        """Programs of `place` believe the site and use the store."""
        place.env |= {"SSL_CERT_FILE": str(self.site.certificate.file), "MODELS_HOME": str(self.root)}

    def start(self, *args: str | Path, **options) -> Pull:
        """`inferdctl pull` with these arguments; without any, the model by its URL."""
        args = args or ("pull", self.site.url(), "--sha256", self.sha256, "--name", NAME)
        self.pulls.append(Pull(self.place, *args, **options))
        return self.pulls[-1]

    def start_from_config(self, **model) -> Pull:
        return self.start("--config", self.config(**model), "pull")

    def config(self, auto_pull: bool = True, **model) -> Path:
        """A config file with the model as its only backend; `model`: fields of it besides."""
        path = self.place.base / "config.json"
        model = {"name": NAME, "sha256": self.sha256, "source_url": self.site.url(), **model}
        backend = {"kind": "llamacpp", "name": "chat", "threads": 1, "model": model}
        next_ = path.with_suffix(".next")
        next_.write_text(json.dumps({"auto_pull": auto_pull, "backends": [backend]}))
        return next_.replace(path)  # at once: somebody may be reading it

    def received(self, size: int) -> None:
        """Waits until so much of the model is in the partial file; it is written from front to back."""
        def is_there() -> bool:
            return self.partial.exists() and self.partial.stat().st_size >= size
        until(is_there, f"{size} bytes are in the partial file")

    def quarantined(self) -> list[bytes]:
        folder = self.root / "locks/quarantine"
        return [file.read_bytes() for file in sorted(folder.iterdir())] if folder.exists() else []

    def assert_fetched(self) -> None:
        """The blob is there and right, its manifest names it, and nothing is left of the fetching."""
        assert hashlib.sha256(self.blob.read_bytes()).hexdigest() == self.sha256
        manifest = json.loads(self.manifest.read_text())
        assert (manifest["blob"], manifest["size_bytes"]) == (f"sha256:{self.sha256}", len(self.content))
        assert not self.partial.parent.exists()

    def assert_nothing(self) -> None:
        """Nothing stands under the final names."""
        assert not self.blob.exists() and not self.manifest.exists()

    def close(self) -> None:
        for pull in self.pulls:
            if pull.process.poll() is None:
                pull.kill()
        self.site.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def fetching(place, certificate):
    """The store of a file that is no model."""
    made = Fetching(place, certificate, CONTENT)
    yield made
    made.close()
