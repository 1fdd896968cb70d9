"""RFC 6962 trees against the RFC's own vectors, and proofs against the definition."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partywall.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    range_root,
    root_of,
    verify_consistency,
    verify_inclusion,
)

INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The Certificate Transparency reference vectors."""


def hashes(count):
    return [hashlib.sha256(b"\x00" + str(n).encode()).digest() for n in range(count)]


def subtree_of(leaves):
    return lambda level, index: root_of(leaves[index << level : (index + 1) << level])


def test_the_reference_vectors():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    frontier = Frontier()
    for leaf, root in zip(INPUTS, ROOTS, strict=True):
        frontier.push(hashlib.sha256(b"\x00" + leaf).digest())
        assert frontier.root().hex() == root


@given(st.integers(1, 300), st.data())
def test_every_inclusion_proof_verifies_and_no_other_leaf_does(size, data):
    leaves = hashes(size)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, subtree_of(leaves))
    root = root_of(leaves)
    assert verify_inclusion(leaves[index], index, size, proof, root)
    assert not verify_inclusion(leaves[index], index, size, [*proof, bytes(32)], root)
    assert not verify_inclusion(bytes(32), index, size, proof, root)
    if size > 1:
        assert not verify_inclusion(leaves[index], (index + 1) % size, size, proof, root)


@given(st.integers(1, 300), st.data())
def test_every_consistency_proof_verifies_and_no_fork_does(size, data):
    leaves = hashes(size)
    old = data.draw(st.integers(1, size))
    proof = consistency_proof(old, size, subtree_of(leaves))
    assert verify_consistency(old, size, root_of(leaves[:old]), root_of(leaves), proof)
    forked = [*leaves[: old - 1], bytes(32)]
    assert not verify_consistency(old, size, root_of(forked), root_of(leaves), proof)


@given(st.integers(1, 600))
def test_subtrees_pushed_whole_give_the_same_root(size):
    leaves = hashes(size)
    frontier = Frontier()
    for at in range(0, size & ~255, 256):
        frontier.push(root_of(leaves[at : at + 256]), 8)
    for leaf in leaves[size & ~255 :]:
        frontier.push(leaf)
    assert frontier.root() == root_of(leaves) == range_root(0, size, subtree_of(leaves))


def test_a_subtree_at_the_wrong_place_is_refused():
    frontier = Frontier()
    frontier.push(bytes(32))
    with pytest.raises(ValueError, match="multiple"):
        frontier.push(bytes(32), 8)
