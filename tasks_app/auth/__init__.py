"""API keys, scopes, roles, rate limits, client addresses."""
