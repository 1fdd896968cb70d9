"""The issuer: operator actions, credentials, keys, schedulers."""
