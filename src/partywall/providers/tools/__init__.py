"""MCP tool servers behind the wall."""
