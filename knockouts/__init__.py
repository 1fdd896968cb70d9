"""Knock-outs: the product with exactly one control replaced, so that a probe that passes proves something.

Never in the wheel; started only in a fresh temporary home on loopback; every reply and every leaf is stamped.
"""
