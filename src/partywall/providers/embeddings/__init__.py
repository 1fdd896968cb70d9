"""The local embedding model: a process of its own that turns text into vectors and remembers nothing."""
