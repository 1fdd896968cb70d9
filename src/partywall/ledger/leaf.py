"""A leaf: clear header, nonce, ciphertext, and its hash."""
