"""MCP over HTTP: Streamable HTTP, both eras, both sides."""
