"""The identity of requests: API keys, JSON Web Tokens, a trusted proxy's header, or one account for everybody."""
