"""The ledger in Redis or Valkey, alone or as a cluster, for several machines."""
