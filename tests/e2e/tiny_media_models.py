"""Tiny projectors with random weights of a fixed seed, as GGUF files for libmtmd, beside the `full` model of tiny_models.py; and for two of
them the same in numpy, so that an oracle says what a model has to answer that sees an image or hears a sound.

| kind     | projector  | what is peculiar |
|----------|------------|------------------|
| `vision` | gemma4uv   | a token is a square of 8 x 8 pixels as they are; an image's tokens see each other in both directions; texts around it |
| `audio`  | gemma4ua   | a token is 640 samples as they are; texts around them |
| `both`   | these two  | one file |
| `llava`  | mlp        | a small vision transformer on 56 x 56 pixels; the image's tokens see those before them only |
| `whisper`| ultravox   | 25 tokens for each half minute, from a spectrogram that libmtmd computes in threads of its own |

The first three have an oracle (`rows_of_image`, `rows_of_audio`, `SeeingModel`), as far as libmtmd takes the media as they are: an image with sides
that are multiples of 8 and with 70 tokens and more (smaller ones are enlarged), and up to the most that the projector may make.
"""
from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import gguf
import numpy as np

from tiny_models import END, HEAD, START, UNUSED, WIDTH, Answer, TinyModel, half, roped

KINDS = ("vision", "audio", "both", "llava", "whisper")
RATE = 16000               # Hz
PATCH, MERGE = 4, 2        # the projector joins 2 x 2 patches
SQUARE = PATCH * MERGE     # pixels of a side of what becomes one token
FEWEST, MOST = 70, 1120    # tokens of an image; of the most llama.cpp takes 512, which have to be in one batch
LONGEST_SIDE = 512         # squares
FRAME = 640                # samples of a token
LLAVA_SIZE, LLAVA_PATCH = 56, 8
MELS, STACK = 16, 60       # of `whisper`; 3000 spectra in half a minute, 120 of them are a token
INNER, BLOCKS = 16, 2      # of the transformers in `llava` and `whisper`
IMAGE_BEGIN, IMAGE_END = b"<|image>", b"<image|>"  # libmtmd's, around an image and a sound of these architectures
AUDIO_BEGIN, AUDIO_END = b"<|audio>", b"<audio|>"
EPS = 1e-6


class TinyProjector:
    def __init__(self, kind: str, seed: int = 1) -> None:
        self.kind, self.random = kind, np.random.default_rng([KINDS.index(kind), seed])
        self.tensors: dict[str, np.ndarray] = {}
        self.path = self.sha256 = None
        self.vision = kind in ("vision", "both", "llava")
        self.audio = kind in ("audio", "both", "whisper")
        if kind in ("vision", "both"):
            self.make_gemma_vision()
        if kind in ("audio", "both"):
            self.matrix("mm.a.input_projection.weight", FRAME, WIDTH, 2)
        if kind == "llava":
            self.make_llava()
        if kind == "whisper":
            self.make_whisper()

    # weights

    def matrix(self, name: str, inputs: int, outputs: int, scale: float = 1.0) -> None:
        self.tensors[name] = (self.random.standard_normal((outputs, inputs)) * scale / np.sqrt(inputs)).astype(np.float32)

    def constant(self, name: str, size: int, value: float) -> None:
        self.tensors[name] = np.full(size, value, np.float32)

    def norm(self, name: str, size: int) -> None:
        self.constant(name + ".weight", size, 1)
        self.constant(name + ".bias", size, 0)

    def make_gemma_vision(self) -> None:
        pixels = SQUARE * SQUARE * 3
        self.norm("v.patch_norm.1", pixels)
        self.norm("v.patch_norm.2", INNER)
        self.norm("v.patch_norm.3", INNER)
        self.matrix("v.patch_embd.weight", pixels, INNER, 2)
        self.constant("v.patch_embd.bias", INNER, 0.1)
        self.tensors["v.position_embd.weight"] = self.random.standard_normal((2, LONGEST_SIDE, INNER)).astype(np.float32) / 2
        self.matrix("mm.input_projection.weight", INNER, WIDTH, 2)

    def make_block(self, name: str) -> None:
        self.norm(name + "ln1", INNER)
        self.norm(name + "ln2", INNER)
        for part in "qkv":
            self.matrix(f"{name}attn_{part}.weight", INNER, INNER, 2)
            if part != "k":
                self.constant(f"{name}attn_{part}.bias", INNER, 0)
        self.matrix(name + "attn_out.weight", INNER, INNER)
        self.matrix(name + "ffn_up.weight", INNER, 2 * INNER)
        self.matrix(name + "ffn_down.weight", 2 * INNER, INNER)

    def make_llava(self) -> None:
        patches = (LLAVA_SIZE // LLAVA_PATCH) ** 2
        self.tensors["v.patch_embd.weight"] = self.random.standard_normal((INNER, 3, LLAVA_PATCH, LLAVA_PATCH)).astype(np.float32) / LLAVA_PATCH
        self.tensors["v.position_embd.weight"] = self.random.standard_normal((patches, INNER)).astype(np.float32)
        for n in range(BLOCKS):
            self.make_block(f"v.blk.{n}.")
        self.matrix("mm.0.weight", INNER, WIDTH, 2)
        self.constant("mm.0.bias", WIDTH, 0)
        self.matrix("mm.2.weight", WIDTH, WIDTH, 2)
        self.constant("mm.2.bias", WIDTH, 0)

    def make_whisper(self) -> None:
        for n, inputs in ((1, MELS), (2, INNER)):
            kernel = self.random.standard_normal((INNER, inputs, 3)) / np.sqrt(3 * inputs)
            self.tensors[f"a.conv1d.{n}.weight"] = kernel.astype(np.float16)  # llama.cpp's convolution takes 16-bit kernels only
            self.tensors[f"a.conv1d.{n}.bias"] = np.full((INNER, 1), 0.1, np.float32)
        self.tensors["a.position_embd.weight"] = self.random.standard_normal((1500, INNER)).astype(np.float32) / 4
        for n in range(BLOCKS):
            self.make_block(f"a.blk.{n}.")
        self.norm("a.post_ln", INNER)
        self.constant("mm.a.norm_pre.weight", INNER * STACK, 1)
        self.matrix("mm.a.mlp.1.weight", INNER * STACK, 2 * WIDTH, 2)
        self.constant("mm.a.norm_mid.weight", WIDTH, 1)
        self.matrix("mm.a.mlp.2.weight", WIDTH, WIDTH, 2)

    # the file

    def write(self, folder: Path) -> "TinyProjector":
        self.path = folder / f"tiny-projector-{self.kind}.gguf"
        out = gguf.GGUFWriter(self.path, "clip")
        out.add_name(f"tiny projector {self.kind}")
        out.add_bool("clip.has_vision_encoder", self.vision)
        out.add_bool("clip.has_audio_encoder", self.audio)
        out.add_bool("clip.use_gelu", True)
        for modality, there in (("vision", self.vision), ("audio", self.audio)):
            if there:
                transformer = self.kind in ("llava", "whisper")
                out.add_uint32(f"clip.{modality}.embedding_length", INNER)
                out.add_uint32(f"clip.{modality}.attention.head_count", 2)
                out.add_uint32(f"clip.{modality}.feed_forward_length", 2 * INNER)
                out.add_uint32(f"clip.{modality}.block_count", BLOCKS if transformer else 0)
                out.add_uint32(f"clip.{modality}.projection_dim", WIDTH)
                out.add_float32(f"clip.{modality}.attention.layer_norm_epsilon", EPS)
        if self.vision:
            out.add_string("clip.vision.projector_type", "mlp" if self.kind == "llava" else "gemma4uv")
            out.add_uint32("clip.vision.image_size", LLAVA_SIZE)
            out.add_uint32("clip.vision.patch_size", LLAVA_PATCH if self.kind == "llava" else PATCH)
            out.add_uint32("clip.vision.projector.scale_factor", MERGE)
            out.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
            out.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
        if self.audio:
            out.add_string("clip.audio.projector_type", "ultravox" if self.kind == "whisper" else "gemma4ua")
            out.add_uint32("clip.audio.num_mel_bins", MELS if self.kind == "whisper" else FRAME)
            out.add_uint32("clip.audio.projector.stack_factor", STACK)
        for name, data in self.tensors.items():
            out.add_tensor(name, data)
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return self

    # the oracle: what stands in the prompt for an image or a sound, [tokens, WIDTH]

    def rows_of_image(self, pixels: np.ndarray) -> np.ndarray:
        """pixels[y, x, colour] of 8 bits."""
        t = self.tensors
        rows, columns = pixels.shape[0] // SQUARE, pixels.shape[1] // SQUARE
        assert pixels.shape == (rows * SQUARE, columns * SQUARE, 3) and FEWEST <= rows * columns <= MOST, "libmtmd would change its size"
        x = (pixels.astype(np.float32) / 255 - np.float32(0.5)) / np.float32(0.5)
        squares = x.reshape(rows, SQUARE, columns, SQUARE, 3).transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1)
        x = layer_normed(squares) @ t["v.patch_embd.weight"].T + t["v.patch_embd.bias"]
        places = t["v.position_embd.weight"]
        x = layer_normed(x) + np.tile(places[0, :columns], (rows, 1)) + np.repeat(places[1, :rows], columns, axis=0)
        return rms_normed(layer_normed(x)) @ t["mm.input_projection.weight"].T

    def rows_of_audio(self, samples: np.ndarray) -> np.ndarray:
        """The engine fills up to a tenth of a second with silence, then libmtmd to a frame."""
        length = len(samples)
        for unit in (RATE // 10, FRAME):
            length = -(-length // unit) * unit
        padded = np.zeros(length, np.float32)
        padded[: len(samples)] = samples
        return rms_normed(padded.reshape(-1, FRAME)) @ self.tensors["mm.a.input_projection.weight"].T


def layer_normed(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-5))


def rms_normed(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(EPS))


class SeeingModel(TinyModel):
    """The `full` model, whose oracle takes prompts with media in them."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__("full", seed)
        self.both_directions = False

    def answer_to(self, parts: list[bytes | tuple[np.ndarray, bool]], max_tokens: int) -> Answer:
        """The answer to one user turn of texts and media, with its margin, however certain. A medium is its rows and whether they see each
        other in both directions."""
        table = self.tensors["token_embd.weight"]
        segments: list[tuple[list[int], bool]] = [([START, *b"user\n"], False)]
        for part in [*parts, None]:
            if part is None:
                segments.append(([END, ord("\n"), START, *b"assistant\n"], False))
            elif isinstance(part, bytes):
                segments.append((list(part), False))
            else:
                rows, both_directions = part
                first = len(self.tensors["token_embd.weight"])
                self.tensors["token_embd.weight"] = np.concatenate([self.tensors["token_embd.weight"], rows.astype(np.float32)])
                segments.append((list(range(first, first + len(rows))), both_directions))
        try:
            return self.continued(segments, max_tokens)
        finally:
            self.tensors["token_embd.weight"] = table

    def continued(self, segments: list[tuple[list[int], bool]], max_tokens: int) -> Answer:
        memory, position = [None] * 2, 0
        for tokens, self.both_directions in segments:
            logits = self.forward(tokens, position, memory)
            position += len(tokens)
        said, margin, reason = bytearray(), float("inf"), "max_tokens"
        while len(said) < max_tokens:
            second, best = np.argsort(logits)[-2:]
            margin = min(margin, float((logits[best] - logits[second]) / logits[logits != 0].std()))
            if best == END:
                reason = "end_turn"
                break
            said.append(best)
            logits = self.forward([int(best)], position, memory)
            position += 1
        return Answer(said.decode(), reason, len(said), margin)

    def attention(self, layer: str, x: np.ndarray, first: int, before, window: int | None):
        if not self.both_directions:
            return super().attention(layer, x, first, before, window)
        t = self.tensors
        q, k, v = ((x @ t[f"{layer}attn_{c}.weight"].T).reshape(len(x), self.heads, HEAD) for c in "qkv")
        q, k, v = half(roped(q, first, "neighbours")), half(roped(k, first, "neighbours")), half(v)
        if before:
            k, v = np.concatenate([before[0], k]), np.concatenate([before[1], v])
        scores = np.einsum("qhd,khd->hqk", q, k) * np.float32(HEAD**-0.5)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1) @ t[layer + "attn_output.weight"].T, (k, v)


# what a client sends

def image(id: str, width: int = 80, height: int = 64, seed: int = 1) -> tuple[dict, np.ndarray]:
    """An attachment of random pixels, and the pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return {"kind": "image", "id": id, "width": width, "height": height, "bytes": base64.b64encode(pixels.tobytes()).decode()}, pixels


def sound(id: str, samples: int = RATE // 2, seed: int = 1, rate: int = RATE) -> tuple[dict, np.ndarray]:
    """An attachment of noise, and its samples."""
    data = np.random.default_rng(seed).uniform(-1, 1, samples).astype("<f4")
    return {"kind": "audio", "id": id, "sample_rate": rate, "bytes": base64.b64encode(data.tobytes()).decode()}, data
