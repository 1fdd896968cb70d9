"""Policy as code: changes to infrastructure and schemas, checked before they are made. `command.py` is the entry."""
