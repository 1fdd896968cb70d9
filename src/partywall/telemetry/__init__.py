"""The one logging sink."""
