# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Copies KV between vLLM's CPU cache and LMCache's memory objects; LMCache ships no connector for CPUs.

vLLM's cache is one tensor per layer, (blocks, heads, block size, 2 x head size). A memory object is
(2, layers, tokens, heads x head size): keys, then values, plain. So a chunk may have any size, and both ends
of a transfer may have different block sizes.

How the CPU kernels lay out one block differs. The "vec" kernels keep, per block and head, keys transposed
(head size, block size) and then values (block size, head size): those are translated token by token. Other
kernels (AMX, ...) pack in their own ways: there a block is copied as it is, and a chunk must be whole blocks.
"""

from __future__ import annotations

import torch
from lmcache.utils import EngineType
from lmcache.v1 import gpu_connector
from lmcache.v1.gpu_connector.gpu_connectors import GPUConnectorInterface


class CPUConnector(GPUConnectorInterface):
    def __init__(self, metadata):
        _, self.layers, _, self.heads, self.head_size = metadata.kv_shape
        self.kvcaches = None
        self.transposed = None  # known with the first tensor

    def initialize_kvcaches_ptr(self, **kwargs):
        if "kvcaches" in kwargs:
            self.kvcaches = kwargs["kvcaches"]

    def get_shape(self, num_tokens):
        return torch.Size([2, self.layers, num_tokens, self.heads * self.head_size])

    def from_gpu(self, memory_obj, start, end, **kwargs):
        """vLLM's cache → memory object, for the tokens start to end of the request's slot mapping."""
        self.initialize_kvcaches_ptr(**kwargs)
        slots = kwargs["slot_mapping"][start:end].to(torch.long)
        plain = memory_obj.tensor
        for layer, cache in enumerate(self.kvcaches):
            size, keys, values = self._views(cache)
            if self.transposed:
                block, offset = slots // size, slots % size
                plain[0, layer].copy_(keys[block, :, :, offset].reshape(len(slots), -1))
                plain[1, layer].copy_(values[block, :, offset].reshape(len(slots), -1))
            else:
                packed = cache[self._whole_blocks(slots, size)]
                packed = packed.view(-1, self.heads, size, 2, self.head_size).permute(3, 0, 2, 1, 4)
                plain[:, layer].copy_(packed.reshape(2, len(slots), -1))

    def to_gpu(self, memory_obj, start, end, **kwargs):
        """Memory object → vLLM's cache, without the tokens vLLM has computed itself."""
        self.initialize_kvcaches_ptr(**kwargs)
        skip = max(0, min(end, kwargs.get("vllm_cached_tokens", 0)) - start)
        slots = kwargs["slot_mapping"][start:end].to(torch.long)
        plain = memory_obj.tensor
        for layer, cache in enumerate(self.kvcaches):
            size, keys, values = self._views(cache)
            if self.transposed:
                block, offset = slots[skip:] // size, slots[skip:] % size
                keys[block, :, :, offset] = plain[0, layer, skip:].view(-1, self.heads, self.head_size)
                values[block, :, offset] = plain[1, layer, skip:].view(-1, self.heads, self.head_size)
            else:
                blocks = self._whole_blocks(slots, size)[skip // size :]
                packed = plain[:, layer].reshape(2, -1, size, self.heads, self.head_size)
                packed = packed.permute(1, 3, 2, 0, 4)
                cache[blocks] = packed.reshape(-1, self.heads, size, 2 * self.head_size)[skip // size :]

    def batched_from_gpu(self, memory_objs, starts, ends, **kwargs):
        for memory_obj, start, end in zip(memory_objs, starts, ends):
            self.from_gpu(memory_obj, start, end, **kwargs)

    def batched_to_gpu(self, memory_objs, starts, ends, **kwargs):
        for memory_obj, start, end in zip(memory_objs, starts, ends):
            self.to_gpu(memory_obj, start, end, **kwargs)

    def _views(self, cache):
        """Block size, and the cache seen as transposed keys and as values (of use when `transposed`)."""
        blocks, heads, size, width = cache.shape
        if (heads, width) != (self.heads, 2 * self.head_size):
            raise ValueError(f"unexpected KV cache shape {tuple(cache.shape)}")
        if self.transposed is None:
            from vllm.v1.attention.backends.cpu_attn import _get_attn_isa

            self.transposed = _get_attn_isa(cache.dtype, size, self.head_size) == "vec"
        halves = cache.view(blocks, heads, 2, size * self.head_size)
        keys = halves[:, :, 0].view(blocks, heads, self.head_size, size)
        values = halves[:, :, 1].view(blocks, heads, size, self.head_size)
        return size, keys, values

    @staticmethod
    def _whole_blocks(slots, size):
        """The blocks these slots fill from first to last; anything else cannot be copied packed."""
        firsts = slots[::size]
        expected = (firsts[:, None] + torch.arange(size)).reshape(-1)
        if len(slots) % size or bool((firsts % size).any()) or not torch.equal(expected, slots):
            raise ValueError(f"a chunk of {len(slots)} tokens is not whole blocks of {size}")
        return firsts // size


def install() -> None:
    create = gpu_connector.CreateGPUConnector

    def create_cpu(config, metadata, engine, layout_hints=None):
        if engine == EngineType.VLLM:
            return CPUConnector(metadata)
        return create(config, metadata, engine, layout_hints)

    gpu_connector.CreateGPUConnector = create_cpu
