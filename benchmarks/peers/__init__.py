"""Parts of the gate beside others that do the same."""
