"""The API consumer's commands, and what they share.

The entry points `calpow.commands` name COMMANDS: for each command its name, the click command as "module:attribute",
and one line of help. Importing this package imports no command.
"""

COMMANDS = (
    ("predict", "calpow.client.cli.predict:predict", "Send files to a protected model and print the answers."),
    ("solve", "calpow.client.cli.solve:solve", "Solve a saved challenge and print the header that answers it."),
    ("puzzle-cost", "calpow.client.cli.puzzle_cost:puzzle_cost", "Measure what each kind of puzzle costs here."),
)
