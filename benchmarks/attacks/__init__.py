"""The paper's attacks against the gate, in this process: each chooses its queries by its own copy of the victim."""
