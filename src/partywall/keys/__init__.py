"""I/O. Data keys per tenant behind the `Keys` port."""
