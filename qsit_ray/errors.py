"""pure: the one exception for a user's mistake."""


class InputError(ValueError):
    """A user's mistake: one line that names the file, row or key and what was expected.

    The command line prints it without a traceback and exits with status 2.
    """
