"""Texts as 64-bit keys: the same text has the same key everywhere and always, whatever the versions of the libraries.

Two of a hundred million distinct texts share a key with a chance of about 3 in 10,000.

Legend: n texts.
"""

import numpy as np
import pyarrow as pa

from data.counter import mix

_START, _STEP = np.uint64(0x2545F4914F6CDD1D), np.uint64(0x9E3779B97F4A7C15)
_WORD = 8


def text_keys(texts: pa.StringArray) -> np.ndarray:
    """uint64 [n]: the key of each text, from its UTF-8 bytes and their number. Nulls count as empty.

    Words of eight bytes are mixed in one by one, all texts at a time; a shorter last word is filled up with zeros.
    """
    starts, lengths, words = _words(texts)
    keys = lengths.astype(np.uint64) * _STEP + _START
    todo = np.flatnonzero(lengths > 0)
    for at in range(0, int(lengths.max(initial=0)), _WORD):
        todo = todo[lengths[todo] > at]
        left = np.minimum(lengths[todo] - at, _WORD).astype(np.uint64)
        word = words[starts[todo] + at] & (~np.uint64(0) >> (np.uint64(64) - np.uint64(8) * left))
        keys[todo] = mix((keys[todo] ^ word) * _STEP)
    return mix(keys)


def _words(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each text starts, how long it is, and the eight bytes from every place on, little-endian."""
    _, offsets, characters = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    used = np.frombuffer(characters or b"", dtype=np.uint8)[ends[0] : ends[-1]]
    padded = np.concatenate([used, np.zeros(_WORD, dtype=np.uint8)])
    words = np.ndarray(shape=(len(used) + 1,), dtype="<u8", buffer=padded, strides=(1,))
    return ends[:-1] - ends[0], np.diff(ends), words
