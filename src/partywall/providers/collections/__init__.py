"""Documents that can be searched: written, read back, and found again by nearness of their vectors."""
