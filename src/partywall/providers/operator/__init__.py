"""Operator actions and audit reads, handed to the process that may do them."""
