"""Fixtures that every folder of tests may use."""

pytest_plugins = ["tests.postgres_fixture", "tests.issuer_fixture", "tests.scenarios.platform_fixture"]
