"""Questions to the members of an etcd cluster, one at a time, with a token where it takes one."""

from __future__ import annotations

import json
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx

from trimtab.errors import (
    RegistryAnswerError,
    RegistryUnavailableError,
)
from trimtab.registries.asking import Answer, Asker
from trimtab.registries.endpoints import Endpoints
from trimtab.registries.etcd.auth import Tokens
from trimtab.registries.etcd.refusals import (
    auth_is_off,
    canceled,
    error_of,
    needs_token,
    refused,
    words_in,
    words_of,
)
from trimtab.registries.etcd.wire import TokenAnswer, WatchMessage, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from random import Random

    from trimtab.registries.etcd.urls import Place
    from trimtab.registries.etcd.wire import WatchResult

__all__ = ["Gateway"]

_HEADERS = {
    # A member that has lost its leader then says so at once, instead of being silent.
    "Grpc-Metadata-hasleader": "true",
    # Whoever compresses a stream of lines holds them back.
    "Accept-Encoding": "identity",
}


class Gateway:
    """One cluster's JSON gateways; the current member is asked until it fails.

    Args:
        place: where the members are.
        timeout_s: bound on each question.
        max_bytes: the largest answer, and the largest message of a watch.
        rng: the source of chance for the member to begin with.
        transport: used instead of the network.
    """

    def __init__(
        self,
        place: Place,
        *,
        timeout_s: float,
        max_bytes: int,
        rng: Random,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._timeout_s = timeout_s
        self._endpoints = Endpoints(list(place.members), rng=rng)
        self._askers = {
            member: Asker(
                shown,
                headers=_HEADERS,
                verify=place.verify,
                max_bytes=max_bytes,
                transport=transport,
            )
            for member, shown in place.members.items()
        }
        self._credentials = place.credentials
        self._tokens = Tokens(self._authenticate) if place.credentials else None

    async def ask(
        self, path: str, question: dict[str, Any], shape: Any, *, timeout_s: float | None = None
    ) -> Any:
        """Ask one question, and read its answer as `shape`; `timeout_s` may be a shorter bound.

        Raises:
            RegistryError: see `trimtab.registries.protocol`.
        """
        limit_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        with self._member() as member:
            answer = await self._post_with_token(member, path, question, limit_s)
            place = self._askers[member].place
            if answer.status != httpx.codes.OK:
                raise refused(place, answer)
            return read(place, answer.body, shape)

    async def watch(
        self, question: dict[str, Any], *, silence_s: float
    ) -> AsyncGenerator[WatchResult, None]:
        """Yield the messages of a watch; end when there was none for `silence_s`.

        Raises:
            RegistryCursorLostError: etcd has cancelled it: the history it needs is compacted.
            RegistryError: see `trimtab.registries.protocol`.
        """
        token = await self._tokens.get() if self._tokens else ""
        with self._member() as member:
            asker = self._askers[member]
            lines = asker.stream_lines(
                "POST",
                f"{member}/v3/watch",
                json=question,
                headers=_bearing(token),
                timeout_s=self._timeout_s,
                silence_s=silence_s,
                refused=lambda answer: refused(asker.place, answer),
            )
            async with aclosing(lines):
                try:
                    async for line in lines:
                        yield _result(asker.place, line)
                except TimeoutError:
                    return
            raise RegistryUnavailableError(f"{asker.place}: the watch was ended")

    async def aclose(self) -> None:
        """Close the connections."""
        for asker in self._askers.values():
            await asker.aclose()

    @contextmanager
    def _member(self) -> Iterator[str]:
        """Give the member to ask, and turn to the next one if it does not answer well."""
        member = self._endpoints.current
        try:
            yield member
        except (RegistryUnavailableError, RegistryAnswerError):
            self._endpoints.failed(member)
            raise

    async def _post_with_token(
        self, member: str, path: str, question: dict[str, Any], timeout_s: float
    ) -> Answer:
        async def post(token: str) -> Answer:
            return await self._post(member, path, question, token=token, timeout_s=timeout_s)

        if self._tokens is None:
            return await post("")
        token = await self._tokens.get()
        answer = await post(token)
        if answer.status != httpx.codes.OK and needs_token(*words_in(answer)):
            answer = await post(await self._tokens.get(instead_of=token))
        return answer

    async def _post(
        self, member: str, path: str, question: dict[str, Any], *, token: str, timeout_s: float
    ) -> Answer:
        return await self._askers[member].ask(
            "POST",
            member + path,
            json=question,
            headers=_bearing(token),
            timeout_s=timeout_s,
        )

    async def _authenticate(self) -> str:
        assert self._credentials is not None
        user, password = self._credentials
        with self._member() as member:
            answer = await self._post(
                member,
                "/v3/auth/authenticate",
                {"name": user, "password": password},
                token="",
                timeout_s=self._timeout_s,
            )
            place = self._askers[member].place
            if auth_is_off(answer):
                return ""
            if answer.status != httpx.codes.OK:
                raise refused(place, _without(password, answer))
            found: TokenAnswer = read(place, answer.body, TokenAnswer)
            return found.token


def _bearing(token: str) -> dict[str, str]:
    # Without the word Bearer, which etcd would take for a part of the token.
    return {"Authorization": token} if token else {}


def _without(password: str, answer: Answer) -> Answer:
    """Take the password out of a refusal: servers like to repeat what they were asked."""
    spellings = {json.dumps(password)[1:-1], password}
    body = answer.body
    for each in spellings:
        body = body.replace(each.encode(), b"...")
    return replace(answer, body=body)


def _result(place: str, line: bytes) -> WatchResult:
    message: WatchMessage = read(place, line, WatchMessage)
    if message.error is not None:
        raise error_of(place, *words_of(message.error))
    result = message.result
    if result is None:
        raise RegistryAnswerError(f"{place}: a message of the watch has neither result nor error")
    if result.canceled:
        # The stream stays open, and silent for ever.
        raise canceled(place, result.compact_revision, result.cancel_reason)
    return result
