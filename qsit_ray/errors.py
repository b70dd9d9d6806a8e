"""pure: the one exception for a user's mistake."""


class InputError(ValueError):
    """A user's mistake: one line with the file, row or key and the expected value.

    The command line prints it without a traceback and exits with status 2.
    """
