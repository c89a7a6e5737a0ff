"""What a command says when it cannot do what was asked.

    CommandError      the thing failed: the sentence says what, `next_step` what to do (exit code 1)
    └── UsageError    the command was given something it cannot use (exit code 2)

Neither ever shows a traceback. What is not one of these, nor known to `cli.__main__`, is a fault
of ours, and shows one.
"""


class CommandError(Exception):
    """A failure that was to be expected, in words; `next_step` is one sentence or more."""

    exit_code = 1

    def __init__(self, text: str, next_step: str = "") -> None:
        super().__init__(text)
        self.next_step = next_step


class UsageError(CommandError):
    """Wrong arguments, found after parsing."""

    exit_code = 2
