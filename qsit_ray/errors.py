"""pure: the one exception for a user's mistake, and where libraries have wrapped it."""

from __future__ import annotations

# Where the errors of Ray, Ray Train and Python keep the error that they are about.
_INNER = ("cause", "_base_exc", "controller_failure", "__cause__")


class InputError(ValueError):
    """A user's mistake: one line with the file, row or key and the expected value; of a
    configuration file a line for each mistake.

    The command line prints it without a traceback and exits with status 2.
    """


def mistake_in(error: BaseException) -> InputError | None:
    """The innermost InputError that `error` is or was raised about; None where there is none.

    Ray wraps an error of another process several times, also in one that is an InputError itself
    and has a traceback as its text.
    """
    waiting, seen, found = [error], set(), None
    while waiting:
        each = waiting.pop(0)
        seen.add(id(each))
        if isinstance(each, InputError):
            found = each
        inner = [getattr(each, name, None) for name in _INNER]
        inner += getattr(each, "worker_failures", {}).values()  # of Ray Train, by rank
        waiting += [e for e in inner if isinstance(e, BaseException) and id(e) not in seen]
    if found is None or "\n" not in str(found):
        return found
    # Ray Data appends lines of its own advice to the error itself.
    return InputError(str(found).partition("\n")[0])
