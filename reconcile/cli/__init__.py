"""The command line: ``reconcile COMMAND``. One module a command, each with ``add_parser``."""
