"""The only road (`pipeline.py`), and the doors that lead to it."""
