"""Ask the members of an etcd cluster, one at a time, with a token if they want one."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import httpx

from trimtab.errors import (
    RegistryAnswerError,
    RegistryUnavailableError,
)
from trimtab.registries.etcd.wire import (
    TokenAnswer,
    WatchMessage,
    auth_is_off,
    canceled,
    error_of,
    needs_token,
    read,
    refused,
    words_in,
    words_of,
)
from trimtab.registries.members import Endpoints

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
    from random import Random

    from trimtab.registries.asking import Answer
    from trimtab.registries.etcd.settings import EtcdSettings
    from trimtab.registries.etcd.wire import WatchResult

__all__ = ["Gateway", "Tokens"]

_HEADERS = {
    # A member that has lost its leader then answers so at once, instead of being silent.
    "Grpc-Metadata-hasleader": "true",
}


class Gateway:
    """One cluster's JSON gateways; the current member is asked until it fails.

    Args:
        settings: see `EtcdSettings`.
        rng: chooses the member to begin with.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """

    def __init__(self, settings: EtcdSettings, *, rng: Random) -> None:
        self._timeout_s, self._login = settings.timeout_s, settings.login
        self._endpoints = Endpoints(settings.bases, rng=rng)
        context = settings.context()
        self._askers = {
            base: settings.asker(settings.name_of(base), context, _HEADERS)
            for base in settings.bases
        }
        self._tokens = Tokens(self._authenticate) if settings.login else None

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
        """Choose the member to ask, and turn to the next one if it does not answer well."""
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
        assert self._login is not None
        user, password = self._login
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


class Tokens:
    """Keeps one token for all questions, and asks for a new one at most once at a time.

    Passwords are slow to check by design: a thousand watches whose token has lapsed must not ask
    for a thousand new ones.

    Args:
        authenticate: asks for a token; "" while etcd has authentication turned off.
    """

    def __init__(self, authenticate: Callable[[], Awaitable[str]]) -> None:
        self._authenticate = authenticate
        self._token: str | None = None
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def get(self, *, instead_of: str | None = None) -> str:
        """Return the token; a new one if the present one is the one that etcd has just refused.

        Raises:
            RegistryError: etcd gives no token.
        """
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._token is None or self._token == instead_of:
                self._token = await self._authenticate()
            return self._token


def _bearing(token: str) -> dict[str, str]:
    # Without the word Bearer, which etcd would take for a part of the token.
    return {"Authorization": token} if token else {}


def _without(password: str, answer: Answer) -> Answer:
    """Take the password out of a refusal: servers like to repeat the question."""
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
