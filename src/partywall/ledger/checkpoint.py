"""Signed checkpoints."""
