"""Mode observe: account and record, never block."""
