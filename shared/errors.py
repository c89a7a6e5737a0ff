"""The closed tree of what can go wrong between a service and its surroundings.

    EightMsError
    ├── LogUnavailable    NATS did not store it in time: answer 503, or try again with the same id
    ├── Conflict          somebody else wrote first: read again, decide again (three times at most)
    ├── LostRace          another instance moved our position: stop, stand by
    ├── LogRegressed      the log ends before our position, or is another log: a person decides
    ├── ProjectionFailed  an event cannot be applied: the service stops and says which
    ├── NewerSchema       the database was migrated by a newer version: upgrade, do not run
    ├── NotReady          PostgreSQL is away or the projection too far behind: answer 503
    ├── NoAnswer          a service that was asked did not reply in time: answer 503
    ├── MailFailed        a mail was not taken: later again, or never (``for_good``)
    └── Refused           a service that was asked said no; carries its problem to our caller

What a caller of HTTP did wrong is a Problem (shared/http.py), not one of these.
"""

from __future__ import annotations

from typing import Any


class EightMsError(Exception):
    """The root: catch it only at the edge of a process."""


class LogUnavailable(EightMsError):
    """The log did not acknowledge in time. It may hold the event; its id makes a retry safe."""


class Conflict(EightMsError):
    """A guarded append was refused. ``last_seq`` is where the guarded subject stands now."""

    def __init__(self, guard: str, expected: int, last_seq: int) -> None:
        super().__init__(f"{guard} expected at {expected}, is at {last_seq}")
        self.last_seq = last_seq


class LostRace(EightMsError):
    """Another process moved the position. Stop projecting and acting, stand by."""


class LogRegressed(EightMsError):
    """The log is shorter than what we have seen, or was created anew. Needs a person."""


class ProjectionFailed(EightMsError):
    """An event that cannot be projected: never skipped, so the service stops here."""


class NewerSchema(EightMsError):
    """The schema holds migrations this version does not know."""


class NotReady(EightMsError):
    """Rows cannot be read, or are too old to decide by. Say so and ask to come back."""


class NoAnswer(EightMsError):
    """``ask.<service>.<question>`` got no reply in time."""


class MailFailed(EightMsError):
    """The mail was not taken. ``reason`` is the provider's word for why, and holds no address;
    ``for_good`` says that the same mail will not be taken later either."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.reason, self.for_good = reason, for_good


class Refused(EightMsError):
    """The asked service refused. ``problem`` is its problem document, to be passed on as it is."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("code", "refused")))
        self.problem = problem
