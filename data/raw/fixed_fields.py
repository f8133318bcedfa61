"""Lines of a fixed number of fields to arrays, all lines of a block at once: a field is known by where it ends.

Eight characters are handled at a time, as one 64-bit word that ends where the field ends; little-endian, so that a field's last
character is the word's highest byte. Every character is checked: what is not as it must be gives none, never a wrong number.

Legend: n lines, k neighbouring fields of them.
"""

from dataclasses import dataclass

import numpy as np

_TAB, _LF, _MINUS = b"\t\n-"
_WORD = 8
_PADDING = b"0" * _WORD
_ZEROS, _TENS, _HIGH_BITS = (np.uint64(int.from_bytes(bytes([byte] * _WORD))) for byte in (0x30, 0x76, 0x80))
_MOST_DIGITS = 18
_NOT_HEX = 0x100

Found = tuple[np.ndarray, np.ndarray]
"""The values [k, n], 0 where a field is empty, and which fields are empty, bool [k, n]."""


@dataclass(frozen=True)
class FixedFields:
    """The fields of n lines: `characters` uint8, the lines with a word of padding on both sides; `starts` and `ends` of each
    field in it, int64 [fields, n]."""

    characters: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, text: bytes, num_fields: int) -> "FixedFields | None":
        """The fields of whole lines, tabs between them; none unless every line has so many."""
        # A word on both sides, and what makes whole words of it.
        rest = _PADDING[: -len(text) % _WORD]
        characters = np.frombuffer(b"".join((_PADDING, text, rest, _PADDING)), np.uint8)
        ends = np.flatnonzero(characters <= _LF)
        if len(ends) % num_fields or characters.min() < _TAB:
            return None
        ends = np.ascontiguousarray(ends.reshape(-1, num_fields).T)
        is_line_end = characters[ends] == _LF
        if not is_line_end[-1].all() or is_line_end[:-1].any():
            return None
        starts = np.empty_like(ends)
        starts[1:] = ends[:-1]
        starts[0, 1:], starts[0, :1] = ends[-1, :-1], _WORD - 1
        starts += 1
        return cls(characters, starts, ends)

    def binary_digits(self, field: int) -> np.ndarray | None:
        """int8 [n]: fields that are the character 0 or 1; none if any is not."""
        if not (self.ends[field] - self.starts[field] == 1).all():
            return None
        digits = self.characters[self.starts[field]].view(np.int8) - np.int8(ord("0"))
        return digits if ((digits == 0) | (digits == 1)).all() else None

    def integers(self, fields: slice) -> Found | None:
        """int64: fields of up to 18 digits, with or without a minus sign; none if any is neither that nor empty."""
        starts, ends = self.starts[fields], self.ends[fields]
        is_negative = self.characters[starts] == _MINUS
        missing = starts == ends
        num_digits = ends - starts
        num_digits -= is_negative
        if num_digits.max(initial=0) > _MOST_DIGITS or (num_digits + missing).min(initial=1) < 1:
            return None
        values = self._digits(ends, num_digits)
        if values is None:
            return None
        return np.negative(values, out=values, where=is_negative), missing

    def hex_words(self, fields: slice) -> Found | None:
        """uint32: fields of eight hex digits; none if any is neither that nor empty."""
        starts, ends = self.starts[fields], self.ends[fields]
        missing = starts == ends
        if not ((ends - starts == _WORD) | missing).all():
            return None
        words = self._words(ends - _WORD)
        np.copyto(words, _ZEROS, where=missing)
        values = hex_values(words.view(np.uint16))
        return None if values is None else (values.reshape(words.shape), missing)

    def _digits(self, ends: np.ndarray, num_digits: np.ndarray) -> np.ndarray | None:
        """int64: the number that the `num_digits` characters before each of the ends spell; none if any is no digit."""
        unused = np.maximum(_WORD - num_digits, 0)
        unused *= 8
        values = _decimal(self._words(ends - _WORD) ^ _ZEROS, unused.view(np.uint64))
        is_long = num_digits > _WORD
        if values is not None and is_long.any():
            upper = self._digits(ends[is_long] - _WORD, num_digits[is_long] - _WORD)
            if upper is None:
                return None
            values[is_long] += upper * 10**_WORD
        return values

    def _words(self, starts: np.ndarray) -> np.ndarray:
        """uint64: the eight characters from every start on, out of the one or two aligned words that they lie in."""
        aligned = self.characters.view("<u8")
        places, bits = starts >> 3, ((starts & 7) << 3).view(np.uint64)
        words = aligned.take(places, mode="clip")
        words >>= bits
        places += 1
        np.subtract(np.uint64(64), bits, out=bits)
        # A shift by 64 bits gives 0, as it should: numpy sees to that.
        words |= aligned.take(places, mode="clip") << bits
        return words


def hex_values(pairs: np.ndarray) -> np.ndarray | None:
    """uint32: numbers of eight hex digits, from their pairs of characters, uint16 as they lie in memory; none if any is no digit.

    Four look-ups a number, 16 bits at a time.
    """
    decoded = _hex_pairs.take(pairs, mode="clip")
    if decoded.max(initial=0) >= _NOT_HEX:
        return None
    return decoded.astype(np.uint8).view(">u4").astype(np.uint32)


def _decimal(digits: np.ndarray, unused_bits: np.ndarray) -> np.ndarray | None:
    """int64: numbers of up to eight digits, a digit a byte; the lowest bits, of characters before the number, are cleared.

    Neighbouring digits, then pairs, then fours are joined by one multiplication each: (a + 256 b) * (1 + 256 * 10) has 10 a + b
    in its second byte.
    """
    digits >>= unused_bits
    digits <<= unused_bits
    if (((digits + _TENS) | digits) & _HIGH_BITS).any():
        return None
    for factor, bits, kept in (
        (10 * 2**8 + 1, 8, 0x00FF00FF00FF00FF),
        (100 * 2**16 + 1, 16, 0x0000FFFF0000FFFF),
        (10_000 * 2**32 + 1, 32, 0xFFFFFFFF),
    ):
        digits *= np.uint64(factor)
        digits >>= np.uint64(bits)
        digits &= np.uint64(kept)
    return digits.view(np.int64)


def _make_hex_pairs() -> np.ndarray:
    """uint16 [65536]: two characters, as they lie in memory, to the byte they spell, or _NOT_HEX."""
    table = np.full(1 << 16, _NOT_HEX, dtype=np.uint16)
    for byte in range(256):
        for digits in (f"{byte:02x}", f"{byte:02X}", f"{byte:02x}".capitalize(), f"{byte:02x}".swapcase()):
            table[np.frombuffer(digits.encode(), dtype=np.uint16)[0]] = byte
    return table


_hex_pairs = _make_hex_pairs()
