"""I/O. What performs permitted actions: each accepts a permit, or nothing."""
