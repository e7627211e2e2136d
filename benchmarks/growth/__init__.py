"""Time of prepaid answers as a ledger, an account, a model or a request grows."""
