"""The owner's and the operator's commands, one module each.

COMMANDS is the room's entry in the group `calpow.commands`: the name of each command, the click command as
"module:attribute", and one line of help, in the order in which the commands are used. Importing it imports no command.
"""

COMMANDS = (
    ("check", "calpow.archiver.cli.check:check", "Try on payloads whether a model's handler can be protected."),
    ("teachers", "calpow.archiver.cli.teachers:teachers", "Train the ensemble whose votes price the queries."),
    ("neighbours", "calpow.archiver.cli.neighbours:neighbours", "Represent training data for the score pknn."),
    ("calibrate", "calpow.archiver.cli.calibrate:calibrate", "Measure what legitimate use of a model costs and takes."),
    ("report", "calpow.archiver.cli.report:report", "Show what a calibration means for users and attackers."),
    ("archive", "calpow.archiver.cli.archive:archive", "Package a victim and its parts into a protected .mar."),
    ("keys", "calpow.archiver.cli.keys:keys", "Add API keys, list them and revoke them."),
    ("account", "calpow.archiver.cli.account:account", "Show what accounts pay, forgive, block and limit them."),
    ("ledger", "calpow.archiver.cli.ledger:ledger", "Move, verify, prune and back up a ledger, renew its secret."),
    ("mode", "calpow.archiver.cli.mode:mode", "Show and change whether a model's users are asked for work."),
    ("top", "calpow.archiver.cli.top:top", "Watch the accounts that stand highest, live."),
    ("simulate", "calpow.archiver.cli.simulate:simulate", "Replay recorded attacks with and without proof of work."),
)
