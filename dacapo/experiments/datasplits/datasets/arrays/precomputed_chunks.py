"""Files that hold the chunks of a scale of a precomputed volume: one file for each, or shards of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_WORD = 0xFFFFFFFF


def chunk_name(header: Mapping[str, Any], number: Sequence[int], chunk: Sequence[int]) -> str:
    """Return the name of the file that holds a chunk.

    Args:
        header: Of the scale, see :func:`.precomputed_scale`.
        number: Of the chunk along z, y, x.
        chunk: Shape of a chunk in voxels, z, y, x.
    """
    size, begin = header["shape"][-3:], map(int, header["begin"])
    place = list(zip(number, chunk, size, begin, strict=True))[::-1]
    if header["sharding"] is not None:
        grid = [-(-end // step) for _, step, end, _ in place]
        return _shard_name(header["sharding"], _interleaved([n for n, *_ in place], grid))
    return "_".join(f"{first + n * step}-{first + min((n + 1) * step, end)}" for n, step, end, first in place)


def _interleaved(number: Sequence[int], grid: Sequence[int]) -> int:
    """Return the bits of numbers in turn, the lowest first; each gives as many as count its part of the grid."""
    found, position = 0, 0
    for bit in range(max(grid).bit_length()):
        for one, size in zip(number, grid, strict=True):
            if 1 << bit < size:
                found |= (one >> bit & 1) << position
                position += 1
    return found


def _shard_name(sharding: Mapping[str, Any], key: int) -> str:
    """Return the name of the shard that holds the chunk of a key."""
    shifted = key >> int(sharding["preshift_bits"])
    hashed = _murmur3(shifted) if sharding["hash"] == "murmurhash3_x86_128" else shifted
    bits = int(sharding["shard_bits"])
    shard = hashed >> int(sharding["minishard_bits"]) & ((1 << bits) - 1)
    return f"{shard:x}".zfill(-(-bits // 4)) + ".shard"


def _murmur3(key: int) -> int:
    """Return the lower 64 bits of MurmurHash3_x86_128 of a number of 64 bits, with the seed 0."""
    low, high = key & _WORD, key >> 32 & _WORD
    first = _rotated(low * 0x239B961B, 15) * 0xAB0E9789 & _WORD
    second = _rotated(high * 0xAB0E9789, 16) * 0x38B34AE5 & _WORD
    words = _summed([word ^ 8 for word in (first, second, 0, 0)])  # eight bytes were hashed
    words = _summed([_mixed(word) for word in words])
    return words[1] << 32 | words[0]


def _summed(words: Sequence[int]) -> list[int]:
    total = sum(words) & _WORD
    return [total, *(total + word & _WORD for word in words[1:])]


def _rotated(word: int, bits: int) -> int:
    word &= _WORD
    return (word << bits | word >> (32 - bits)) & _WORD


def _mixed(word: int) -> int:
    for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13), (1, 16)):
        word = (word ^ word >> shift) * factor & _WORD
    return word
