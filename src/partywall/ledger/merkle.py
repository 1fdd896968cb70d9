"""PURE. RFC 6962 Merkle trees: a frontier that appends, roots, and proofs with their verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
HASH_BYTES: Final = 32


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: at most one hash a level, enough to append and to give the root."""

    __slots__ = ("_nodes", "size")

    def __init__(self) -> None:
        self._nodes: list[tuple[int, bytes]] = []
        self.size = 0

    def push(self, hash_: bytes, level: int = 0) -> list[tuple[int, bytes]]:
        """Append a whole subtree of 2**level leaves; return the inner nodes that it completed, lowest first.

        Raises: ValueError when the subtree does not fit at this size.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError("a subtree must start at a multiple of its size")
        self.size += 1 << level
        completed: list[tuple[int, bytes]] = []
        nodes, sha256 = self._nodes, hashlib.sha256
        while nodes and nodes[-1][0] == level:
            hash_ = sha256(b"\x01" + nodes.pop()[1] + hash_).digest()
            level += 1
            completed.append((level, hash_))
        nodes.append((level, hash_))
        return completed

    def root(self) -> bytes:
        """Return the root."""
        if not self._nodes:
            return EMPTY_ROOT
        hash_ = self._nodes[-1][1]
        for _level, left in reversed(self._nodes[:-1]):
            hash_ = node_hash(left, hash_)
        return hash_


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier = Frontier()
    for hash_ in hashes:
        frontier.push(hash_)
    return frontier.root()


SubtreeHash = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree over leaves [index << level, (index + 1) << level)."""


def range_root(start: int, stop: int, subtree: SubtreeHash) -> bytes:
    """Return the RFC 6962 hash over leaves [start, stop), stop > start; start a multiple of a large enough power."""
    size = stop - start
    level = size.bit_length() - 1
    if size == 1 << level:
        return subtree(level, start >> level)
    split = 1 << level
    return node_hash(subtree(level, start >> level), range_root(start + split, stop, subtree))


def inclusion_proof(index: int, size: int, subtree: SubtreeHash) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves. Raises: ValueError."""
    if not 0 <= index < size:
        raise ValueError("no such leaf")
    return _path(index, 0, size, subtree)


def _path(index: int, start: int, stop: int, subtree: SubtreeHash) -> list[bytes]:
    if stop - start == 1:
        return []
    split = 1 << ((stop - start - 1).bit_length() - 1)
    middle = start + split
    if index < middle:
        return [*_path(index, start, middle, subtree), range_root(middle, stop, subtree)]
    return [*_path(index, middle, stop, subtree), range_root(start, middle, subtree)]


def consistency_proof(old: int, size: int, subtree: SubtreeHash) -> list[bytes]:
    """Return the proof that the tree of `size` leaves extends the tree of `old`. Raises: ValueError."""
    if not 0 < old <= size:
        raise ValueError("no such older tree")
    return _subproof(old, 0, size, subtree, whole=True)


def _subproof(old: int, start: int, stop: int, subtree: SubtreeHash, *, whole: bool) -> list[bytes]:
    if old == stop - start:
        return [] if whole else [range_root(start, stop, subtree)]
    split = 1 << ((stop - start - 1).bit_length() - 1)
    middle = start + split
    if old <= split:
        return [*_subproof(old, start, middle, subtree, whole=whole), range_root(middle, stop, subtree)]
    rest = _subproof(old - split, middle, stop, subtree, whole=False)
    return [*rest, range_root(start, middle, subtree)]


def verify_inclusion(hash_: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether the proof shows the leaf hash at index of the tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last = index, size - 1
    for step in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            hash_ = node_hash(step, hash_)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            hash_ = node_hash(hash_, step)
        node >>= 1
        last >>= 1
    return last == 0 and hash_ == root


def verify_consistency(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether the proof shows that the newer tree extends the older one (RFC 9162, 2.1.4.2)."""
    if old == size:
        return not proof and old_root == root
    if not 0 < old < size or not proof:
        return False
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    node, last = old - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_hash = new_hash = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_hash = node_hash(step, old_hash)
            new_hash = node_hash(step, new_hash)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new_hash = node_hash(new_hash, step)
        node >>= 1
        last >>= 1
    return last == 0 and old_hash == old_root and new_hash == root
