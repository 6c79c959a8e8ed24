#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""make_model.py FOLDER [SEED]: a tiny random Llama and its tokenizer, made on the spot, nothing downloaded.

The attention weights are larger than a usual initialisation on purpose: with 0.02 the output hardly depends
on the KV cache, and damaged KV would go unseen. The tokenizer is trained on Python's own standard library.
The folder appears whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 2048
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
# how much more than a usual initialisation: the next token then depends strongly on far context
GAIN = {"q_proj": 2.5, "k_proj": 2.5, "v_proj": 5.0, "o_proj": 5.0}
HEAD_GAIN = 4.0


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    sources = sorted(Path(os.__file__).parent.glob("*.py"))[:40]
    tokenizer.train_from_iterator((path.read_text(errors="ignore")[:20_000] for path in sources), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def make_model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=8192,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        for layer in model.model.layers:
            for name, gain in GAIN.items():
                getattr(layer.self_attn, name).weight.mul_(gain)
        model.lm_head.weight.mul_(HEAD_GAIN)
    return model.to(torch.bfloat16)


def main() -> None:
    folder = Path(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(partial)
    make_model(len(tokenizer), seed).save_pretrained(partial)
    for path in partial.iterdir():
        path.chmod(0o644)  # other users' engines read it too
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


if __name__ == "__main__":
    main()
