"""Time of the ledgers: beside bare loops on the same stores, and behind several servers."""
