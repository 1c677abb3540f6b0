"""Tiny models with random weights of a fixed seed, one for each kind of memory that llama.cpp has, as GGUF files (some 170 KB each);
and the same networks in numpy, which say what each has to answer: an oracle that holds no prefix and shares no cell.

| kind       | architecture | memory |
|------------|--------------|--------|
| `full`     | llama        | every position of every layer |
| `window`   | gemma3       | layer 0 sees the last 32 positions, layer 1 all |
| `recurrent`| mamba        | one state for a sequence: it can be continued or dropped, never cut |
| `hybrid`   | jamba        | a layer with such a state, then one with attention over all positions |

A token is a byte, or one of three control tokens; the chat template is ChatML's. An answer has lower-case letters and some punctuation:
the output rows of all else are zero.

**Why an oracle that says how certain it is.** llama.cpp's answer depends, in the last bits, on who else is in the batch and where
the cells lie: its attention on the CPU adds up in 16-bit floats, in the order of the cells. Where the two best tokens are that close,
either is right, and no weights make that rare enough (a larger output matrix scales the error too). So the oracle answers only what is
certain: each token leads by CERTAIN standard deviations of the logits. Measured with an oracle that always answers, 3,000 answers of each
kind, six at a time, up to 380 tokens in 1,280 cells: the largest lead of an answer that differed was 0.011 (full), 0.008 (window) and
0.0013 (hybrid); no recurrent one differed. About half of random prompts are certain for the first two kinds, nine in ten for the others.

**What the weights are for.** An answer has to tell whether the right cells were read: one other byte anywhere in 160 changes a fifth
to a half of the answers, whichever kind.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

KINDS = ("full", "window", "recurrent", "hybrid")
WINDOW = 32
N_CTX_TRAIN = 2048
CERTAIN = {"full": 0.03, "window": 0.03, "recurrent": 0.002, "hybrid": 0.006}

LAYERS = 2
WIDTH, HEADS, HEAD = 32, 2, 32   # attention is wider than the model: 64
FFN = 64
INNER, STATE, RANK, CONV = 2 * WIDTH, 16, 4, 4  # of mamba's layers
EPS = 1e-5
ROPE_BASE = 10000.0
LETTERS = b"abcdefghijklmnopqrstuvwxyz ,.?!"
START, END, UNUSED = 256, 257, 258  # <|im_start|>, <|im_end|>, a token that nothing uses
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def byte_symbols() -> list[str]:
    """The printable character that stands for each byte in a byte-level BPE vocabulary (as GPT-2 has it)."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte if byte in own else next(others)) for byte in range(256)]


def prompt_tokens(messages: list[dict]) -> list[int]:
    tokens = []
    for message in messages:
        tokens += [START, *message["role"].encode(), ord("\n"), *message["content"].encode(), END, ord("\n")]
    return [*tokens, START, *b"assistant\n"]


def normed(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(EPS))


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    x = half(x)  # llama.cpp looks it up in a table
    return half(0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x))))


def half(x: np.ndarray) -> np.ndarray:
    """Rounded to 16 bits, as the KV cache keeps it."""
    return x.astype(np.float16).astype(np.float32)


def roped(x: np.ndarray, first: int, pairs: str) -> np.ndarray:
    """x[token, head, dimension]; pairs: neighbours (llama) or halves (gemma)."""
    angle = np.arange(first, first + len(x))[:, None] * ROPE_BASE ** (-np.arange(0, HEAD, 2) / HEAD)
    cos, sin = (f(angle)[:, None, :].astype(np.float32) for f in (np.cos, np.sin))
    out = np.empty_like(x)
    a, b = (np.s_[..., 0::2], np.s_[..., 1::2]) if pairs == "neighbours" else (np.s_[..., : HEAD // 2], np.s_[..., HEAD // 2:])
    out[a], out[b] = x[a] * cos - x[b] * sin, x[a] * sin + x[b] * cos
    return out


@dataclass
class Answer:
    text: str
    stop_reason: str
    tokens: int     # generated
    margin: float   # of the least certain token


class TinyModel:
    """One of KINDS. `write` makes the file; `answer` is what a daemon that serves it has to say, greedily."""

    def __init__(self, kind: str, seed: int = 1) -> None:
        self.kind, self.random = kind, np.random.default_rng([KINDS.index(kind), seed])
        self.arch = {"full": "llama", "window": "gemma3", "recurrent": "mamba", "hybrid": "jamba"}[kind]
        self.tensors: dict[str, np.ndarray] = {}
        self.path = self.sha256 = None
        self.make_weights()

    # weights

    def matrix(self, name: str, inputs: int, outputs: int, scale: float = 1.0) -> None:
        self.tensors[name] = (self.random.standard_normal((outputs, inputs)) * scale / np.sqrt(inputs)).astype(np.float32)

    def constant(self, name: str, size: int, value: float = 1.0) -> None:
        self.tensors[name] = np.full(size, value, np.float32)

    def make_weights(self) -> None:
        self.matrix("token_embd.weight", WIDTH, UNUSED + 1, 0.5 if self.kind == "window" else np.sqrt(WIDTH) / 2)
        self.matrix("output.weight", WIDTH, UNUSED + 1)
        output = self.tensors["output.weight"]
        output[[token for token in range(UNUSED + 1) if token not in {*LETTERS, END}]] = 0
        output[END] *= 0.8  # some answers end by themselves
        self.constant("output_norm.weight", WIDTH)
        for n in range(LAYERS):
            layer = f"blk.{n}."
            self.constant(layer + "attn_norm.weight", WIDTH)
            if self.is_attention(n):
                self.make_attention(layer)
            else:
                self.make_mamba(layer)
            if self.kind != "recurrent":
                self.constant(layer + "ffn_norm.weight", WIDTH)
                self.matrix(layer + "ffn_gate.weight", WIDTH, FFN)
                self.matrix(layer + "ffn_up.weight", WIDTH, FFN)
                self.matrix(layer + "ffn_down.weight", FFN, WIDTH)

    def is_attention(self, n: int) -> bool:
        return self.kind in ("full", "window") or (self.kind == "hybrid" and n % 2 == 1)

    def make_attention(self, layer: str) -> None:
        # Scores with a deviation of some 2 and more: a few positions have most of the weight, and any of them may be one of those.
        sharp = 2.2 if self.kind == "window" else 1.3
        width = self.heads * HEAD
        normed_queries = self.kind == "window"
        self.matrix(layer + "attn_q.weight", WIDTH, width, 1 if normed_queries else sharp)
        self.matrix(layer + "attn_k.weight", WIDTH, width, 1 if normed_queries else sharp)
        self.matrix(layer + "attn_v.weight", WIDTH, width)
        self.matrix(layer + "attn_output.weight", width, WIDTH, 2)
        if normed_queries:
            self.constant(layer + "attn_q_norm.weight", HEAD, sharp)
            self.constant(layer + "attn_k_norm.weight", HEAD, sharp)
            self.constant(layer + "post_attention_norm.weight", WIDTH, 2.5)
            self.constant(layer + "post_ffw_norm.weight", WIDTH)

    def make_mamba(self, layer: str) -> None:
        self.matrix(layer + "ssm_in.weight", WIDTH, 2 * INNER)
        self.matrix(layer + "ssm_conv1d.weight", CONV, INNER)
        self.constant(layer + "ssm_conv1d.bias", INNER, 0.1)
        self.matrix(layer + "ssm_x.weight", INNER, RANK + 2 * STATE, 2)
        self.matrix(layer + "ssm_dt.weight", RANK, INNER)
        # Steps of 0.02 to 0.3, decays of 0.05 to 3: what is remembered lasts from one token to a thousand.
        self.tensors[layer + "ssm_dt.bias"] = np.log(np.expm1(np.geomspace(0.02, 0.3, INNER))).astype(np.float32)
        self.tensors[layer + "ssm_a"] = np.tile(-np.geomspace(0.05, 3, STATE), (INNER, 1)).astype(np.float32)
        self.constant(layer + "ssm_d", INNER, 0.5)
        self.matrix(layer + "ssm_out.weight", INNER, WIDTH, 2)
        if self.kind == "hybrid":
            self.constant(layer + "ssm_dt_norm.weight", RANK)
            self.constant(layer + "ssm_b_norm.weight", STATE)
            self.constant(layer + "ssm_c_norm.weight", STATE)

    @property
    def heads(self) -> int:
        return 1 if self.kind == "hybrid" else HEADS  # jamba's attention has the model's width

    # the file

    def write(self, folder: Path) -> "TinyModel":
        self.path = folder / f"tiny-{self.kind}.gguf"
        out = gguf.GGUFWriter(self.path, self.arch)
        out.add_name(f"tiny {self.kind}")
        out.add_context_length(N_CTX_TRAIN)
        out.add_embedding_length(WIDTH)
        out.add_block_count(LAYERS)
        out.add_layer_norm_rms_eps(EPS)
        out.add_vocab_size(UNUSED + 1)
        out.add_feed_forward_length(0 if self.kind == "recurrent" else FFN)
        out.add_head_count(0 if self.kind == "recurrent" else self.heads)
        if self.kind == "hybrid":
            out.add_head_count_kv([self.heads if self.is_attention(n) else 0 for n in range(LAYERS)])
        if self.kind in ("full", "window"):
            out.add_key_length(HEAD)
            out.add_value_length(HEAD)
            out.add_rope_dimension_count(HEAD)
            out.add_rope_freq_base(ROPE_BASE)
        if self.kind == "window":
            out.add_sliding_window(WINDOW)
            out.add_sliding_window_pattern([self.window(n) is not None for n in range(LAYERS)])
        if self.kind in ("recurrent", "hybrid"):
            out.add_ssm_conv_kernel(CONV)
            out.add_ssm_inner_size(INNER)
            out.add_ssm_state_size(STATE)
            out.add_ssm_time_step_rank(RANK)
        out.add_tokenizer_model("gpt2")
        out.add_tokenizer_pre("gpt-2")
        out.add_token_list([*byte_symbols(), "<|im_start|>", "<|im_end|>", "unused"])
        out.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.UNUSED])
        out.add_token_merges(["ā ā"])  # a loader wants one; its result is no token
        out.add_bos_token_id(START)
        out.add_eos_token_id(END)
        out.add_add_bos_token(False)
        out.add_chat_template(TEMPLATE)
        for name, data in self.tensors.items():
            out.add_tensor(name, data)
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return self

    # the oracle

    def window(self, n: int) -> int | None:
        return WINDOW if self.kind == "window" and n % 2 == 0 else None

    def answer(self, messages: list[dict], max_tokens: int) -> Answer | None:
        """None if it is not certain of each token."""
        memory = [None] * LAYERS
        prompt = prompt_tokens(messages)
        logits, position = self.forward(prompt, 0, memory), len(prompt)
        said, margin = bytearray(), float("inf")
        while len(said) < max_tokens:
            second, best = np.argsort(logits)[-2:]
            margin = min(margin, float((logits[best] - logits[second]) / logits[list(LETTERS)].std()))
            if margin <= CERTAIN[self.kind]:
                return None
            if best == END:
                return Answer(said.decode(), "end", len(said), margin)
            said.append(best)
            if len(said) < max_tokens:
                logits = self.forward([int(best)], position, memory)
                position += 1
        return Answer(said.decode(), "length", len(said), margin)

    def forward(self, tokens: list[int], first: int, memory: list) -> np.ndarray:
        """Logits after the last of `tokens`, which stand at positions from `first` on; `memory` is what came before."""
        t = self.tensors
        x = t["token_embd.weight"][tokens]
        if self.kind == "window":
            x = x * np.float32(np.sqrt(WIDTH))
        for n in range(LAYERS):
            layer = f"blk.{n}."
            if self.is_attention(n):
                part, memory[n] = self.attention(layer, normed(x), first, memory[n], self.window(n))
            else:
                part, memory[n] = self.mamba(layer, normed(x), memory[n])
            x = x + (normed(part) * t[layer + "post_attention_norm.weight"] if self.kind == "window" else part)
            if self.kind != "recurrent":
                act = gelu if self.kind == "window" else silu
                h = normed(x)
                part = (act(h @ t[layer + "ffn_gate.weight"].T) * (h @ t[layer + "ffn_up.weight"].T)) @ t[layer + "ffn_down.weight"].T
                x = x + (normed(part) if self.kind == "window" else part)
        return t["output.weight"] @ normed(x[-1])

    def attention(self, layer: str, x: np.ndarray, first: int, before, window: int | None):
        t = self.tensors
        q, k, v = ((x @ t[f"{layer}attn_{c}.weight"].T).reshape(len(x), self.heads, HEAD) for c in "qkv")
        if self.kind == "window":
            q, k = normed(q) * t[layer + "attn_q_norm.weight"], normed(k) * t[layer + "attn_k_norm.weight"]
        if self.kind != "hybrid":
            pairs = "neighbours" if self.kind == "full" else "halves"
            q, k = roped(q, first, pairs), roped(k, first, pairs)
        if self.kind == "window":
            q = q / np.float32(np.sqrt(HEAD))
        q, k, v = half(q), half(k), half(v)
        if before:
            k, v = np.concatenate([before[0], k]), np.concatenate([before[1], v])
        scores = np.einsum("qhd,khd->hqk", q, k) * np.float32(1 if self.kind == "window" else HEAD**-0.5)
        age = np.arange(first, first + len(x))[:, None] - np.arange(len(k))[None, :]
        scores[:, (age < 0) | (age >= (window or len(k) + 1))] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(len(x), -1)
        return mixed @ t[layer + "attn_output.weight"].T, (k, v)

    def mamba(self, layer: str, x: np.ndarray, before):
        t = self.tensors
        conv, state = before or (np.zeros((CONV - 1, INNER), np.float32), np.zeros((INNER, STATE), np.float32))
        x, z = np.split(x @ t[layer + "ssm_in.weight"].T, 2, axis=1)
        rows = np.concatenate([conv, x])
        kernel = t[layer + "ssm_conv1d.weight"]
        x = silu(sum(rows[i : i + len(x)] * kernel[:, i] for i in range(CONV)) + t[layer + "ssm_conv1d.bias"])
        dt, b, c = np.split(x @ t[layer + "ssm_x.weight"].T, [RANK, RANK + STATE], axis=1)
        if self.kind == "hybrid":
            dt, b, c = normed(dt), normed(b), normed(c)
        dt = np.logaddexp(np.float32(0), dt @ t[layer + "ssm_dt.weight"].T + t[layer + "ssm_dt.bias"])
        decay = np.exp(dt[:, :, None] * t[layer + "ssm_a"])
        added = (dt * x)[:, :, None] * b[:, None, :]
        y = np.empty_like(x)
        for i in range(len(x)):
            state = state * decay[i] + added[i]
            y[i] = state @ c[i]
        y = silu(z) * (y + x * t[layer + "ssm_d"])
        return y @ t[layer + "ssm_out.weight"].T, (rows[len(rows) - CONV + 1 :], state)
