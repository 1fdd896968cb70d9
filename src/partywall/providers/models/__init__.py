"""Language models behind the wall."""
