"""The model store of one place, and inferdctl on it. The files are no models: the store does not look into them."""
from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from daemon_process import CTL
from wire import DEADLINE

NOWHERE = "https://127.0.0.1:1/m.gguf"  # nobody listens there
CHECK = re.compile(r"\[( ok |warn|FAIL)\] ([^:]+): (.+)")


def content(seed: int, size: int = 100_000) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Store:
    """The store of one place, as files."""

    def __init__(self, place) -> None:
        self.place, self.root = place, place.base / "models"
        place.env |= {"MODELS_HOME": str(self.root), "INFERD_ADMIN_ADDR": str(place.admin)}  # no daemon elsewhere is found

    def blob(self, data: bytes) -> Path:
        digest = sha256(data)
        return self.root / "blobs" / "sha256" / digest[:2] / digest / "data"

    def manifest(self, name: str) -> Path:
        return self.root / "manifests" / f"{name}.json"

    def blobs(self) -> list:
        return list(self.root.glob("blobs/sha256/*/*/data"))

    def quarantined(self) -> list:
        return list(self.root.glob("locks/quarantine/*"))

    def partials(self) -> list:
        return list(self.root.glob("blobs/sha256/*/.partial-*/data.tmp"))

    def ctl(self, *args, code: int = 0) -> subprocess.CompletedProcess:
        """Runs inferdctl to its end, without a terminal; it has to exit with `code`."""
        told = subprocess.run([CTL, *map(str, args)], env=self.place.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DEADLINE, cwd=self.place.base)
        assert told.returncode == code, told
        return told

    def lines(self, *args, code: int = 0) -> list:
        """What a command prints with --json."""
        return [json.loads(line) for line in self.ctl(*args, "--json", code=code).stdout.splitlines()]

    def take(self, name: str, data: bytes) -> Path:
        """Imports bytes whose file is gone afterwards, so that nothing else is a name of the blob."""
        file = self.place.base / f"{name}.gguf"
        file.write_bytes(data)
        self.ctl("import", file)
        file.unlink()
        return self.blob(data)

    def configure(self, *models: dict, **fields) -> Path:
        """The config file at its default place."""
        backends = [{"kind": "llamacpp", "name": f"entry{n}", "model": model} for n, model in enumerate(models)]
        path = self.place.home / ".inferd" / "config.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"backends": backends + fields.pop("more", []), **fields}))
        return path

    def checks(self, *args, code: int = 1) -> list:
        """The lines of doctor: (mark, label, detail). Without a daemon `admin` is always wrong."""
        told = self.ctl("doctor", *args, code=code)
        found = [CHECK.fullmatch(line) for line in told.stdout.splitlines()]
        assert all(found) and told.stderr == "", told
        return [line.groups() for line in found]


@pytest.fixture
def store(place):
    return Store(place)


def model(name: str, data: bytes, url: str = NOWHERE, **fields) -> dict:
    return {"name": name, "sha256": sha256(data), "source_url": url, **fields}


@pytest.fixture
def orphan(store):
    """A blob that no manifest names."""
    blob = store.take("orphan", content(9))
    store.manifest("orphan").unlink()
    return blob
