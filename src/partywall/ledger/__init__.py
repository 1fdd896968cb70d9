"""The append-only log of each tenant: a pure core (leaf, merkle, checkpoint, verify) in an I/O shell."""
