"""The command `calpow` and the API consumer's subcommands."""
