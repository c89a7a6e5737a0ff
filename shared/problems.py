"""What a caller did wrong, or cannot have now: RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TITLES = {
    400: "Bad request",
    401: "Not signed in",
    402: "Not in your plan",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    413: "Too large",
    415: "Unsupported media type",
    422: "Cannot be done",
    429: "Too many requests",
    500: "Something broke on our side",
    503: "Not available right now",
}


class Problem(Exception):
    """An answer that says no. ``code`` is stable; ``errors`` name every wrong field at once.

    ``errors`` entries are ``{pointer, code, detail}``, the pointer a URI fragment such as ``#/to``.
    ``extra`` members go into the document as they are; ``headers`` onto the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[dict[str, str]] = (),
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.detail = status, code, detail
        self.errors, self.headers, self.extra = list(errors), headers or {}, extra

    @classmethod
    def at(cls, pointer: str, code: str, detail: str, status: int = 422) -> Problem:
        """A problem with one field, which is also the problem as a whole."""
        return cls(
            status, code, detail, errors=[{"pointer": pointer, "code": code, "detail": detail}]
        )

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Problem:
        """A problem another service answered with, to be passed on."""
        known = {"type", "title", "status", "code", "detail", "errors", "request_id"}
        extra = {k: v for k, v in document.items() if k not in known}
        headers = {"Retry-After": "1"} if document["status"] == 503 else None
        return cls(
            document["status"],
            document["code"],
            document["detail"],
            errors=document.get("errors", ()),
            headers=headers,
            **extra,
        )

    def document(self, base: str = "", request_id: str | None = None) -> dict[str, Any]:
        """The JSON document; ``base`` is where the page of each problem type is served."""
        out: dict[str, Any] = {
            "type": f"{base}/problems/{self.code}",
            "title": TITLES.get(self.status, "Problem"),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if request_id:
            out["request_id"] = request_id
        if self.errors:
            out["errors"] = self.errors
        return out | self.extra


def unavailable(detail: str, retry_after_s: int = 1) -> Problem:
    """503 with Retry-After: nothing was stored, come back."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after_s)})
