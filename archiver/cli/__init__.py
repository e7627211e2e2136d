"""The owner's and the operator's subcommands, one module each."""
