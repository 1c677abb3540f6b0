"""Model options and files that cannot be served (spec 05 §8, issue 3's list of bad input): exit 1, the cause by name."""
import hashlib
import struct

import pytest

LLAMACPP = ("--backend", "llamacpp", "--model-path")
FILES = {"empty": b"", "not GGUF": b"hello world" * 1000, "only the magic": b"GGUF", "other magic": b"FUGG" + b"\0" * 4096,
         "cut header": b"GGUF" + struct.pack("<IQ", 3, 1), "huge counts": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
         "no tensors": b"GGUF" + struct.pack("<IQQ", 3, 0, 0)}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_file_that_is_no_model_is_a_start_error_that_names_it(start, place, content):
    """E26 with the right hash: truncated and hostile headers end neither in a crash nor in a hang."""
    model = place.base / "model.gguf"
    model.write_bytes(content)
    start.fails(*LLAMACPP, str(model), "--model-sha256", hashlib.sha256(content).hexdigest(), says=model)


@pytest.mark.parametrize("content", [b"hello world", FILES["no tensors"]], ids=["not GGUF", "GGUF"])
def test_a_wrong_hash_is_a_start_error_with_both_hashes(start, place, content):
    """E25, E26: told before the file is loaded."""
    model = place.base / "model.gguf"
    model.write_bytes(content)
    start.fails(*LLAMACPP, str(model), "--model-sha256", "0" * 64,
                says=(model, "0" * 64, hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("given, missing", [((), "--model-path"), (("--model-path", "x.gguf"), "--model-sha256"),
                                            (("--model-path", "x.gguf", "--model-sha256", "abc"), "--model-sha256"),
                                            (("--model-path", "x.gguf", "--model-sha256", "g" * 64), "--model-sha256")])
def test_a_model_option_that_is_missing_or_malformed_is_named(start, given, missing):
    """Spec 05 §8: llamacpp needs a path and 64 hex characters."""
    start.fails("--backend", "llamacpp", *given, says=missing)


@pytest.mark.parametrize("path", ["nowhere.gguf", ".", "nowhere/model.gguf"])
def test_a_model_path_without_a_file_is_named(start, place, path):
    """Spec 05 §8: absent, or a folder."""
    start.fails(*LLAMACPP, str(place.base / path), "--model-sha256", "0" * 64, says=place.base / path)


def test_a_failed_start_leaves_the_place_usable(start, place):
    """Spec 06 §6: lock and sockets of a failed start do not stand in the way."""
    start.fails(*LLAMACPP, "nowhere.gguf", "--model-sha256", "0" * 64)
    assert start("--backend", "mock").connect().text() == "mock-response"
