"""The REST door's routes, one module a noun. `gateway/rest_routes.py` puts them together and says how to add one."""
