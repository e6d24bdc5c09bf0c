"""Answers that say no: one exception that carries Consul's status code and text."""

from __future__ import annotations

__all__ = ["Refusal"]


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure of the server
    """End the request with this status and plain text.

    Attributes:
        status: the HTTP status code.
        text: what the body says, in Consul's own wording where a client may look at it.
        headers: headers that go with it.
    """

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers or {}
