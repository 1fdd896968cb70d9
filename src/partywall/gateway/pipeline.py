"""The only road."""
