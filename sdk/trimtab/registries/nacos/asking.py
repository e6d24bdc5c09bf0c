"""Questions to Nacos: logged in where it takes a login, and its answers unwrapped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec

from trimtab.errors import RegistryDeniedError, RegistryRequestError, RegistryUnavailableError
from trimtab.registries.asking import Answer, parse_json, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.registries.members import Members

__all__ = ["LoggedIn", "Result", "result_of"]

_REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_RENEW_RATIO = 0.9
_DENIED = 10001
_SERVER_ERROR = 30000


class _Token(msgspec.Struct, rename="camel"):
    access_token: str
    token_ttl: float = 0.0


class Result(msgspec.Struct):
    """An answer of versions 2 and 3, whose `code` says whether `data` is one; 0 is success."""

    code: int
    data: msgspec.Raw
    message: str | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    until: float


class LoggedIn:
    """Ask, with the token of a login, which is had anew before it expires or when refused.

    Args:
        place: how messages name the registry.
        members: whom to ask.
        login: user and password; None asks without.
        path: where the login is.
    """

    def __init__(
        self, place: str, members: Members, login: tuple[str, str] | None, path: str
    ) -> None:
        self._place, self._members = place, members
        self._login, self._path = login, path
        self._held: _Held | None = None

    async def ask(self, method: str, path: str, params: Mapping[str, str]) -> Answer:
        """Send one question; another one if the token of the first is no longer good.

        Raises:
            RegistryUnavailableError: no answer.
            RegistryDeniedError: the login is refused.
        """
        if self._login is None:
            return await self._members.ask(method, path, params=params)
        held = await self._token(self._login)
        answer = await self._send(method, path, params, held)
        if answer.status not in _REFUSED:
            return answer
        if self._held is held:
            self._held = None
        return await self._send(method, path, params, await self._token(self._login))

    async def _send(self, method: str, path: str, params: Mapping[str, str], held: _Held) -> Answer:
        params = {**params, "accessToken": held.token}
        return await self._members.ask(method, path, params=params)

    async def _token(self, login: tuple[str, str]) -> _Held:
        now = asyncio.get_running_loop().time()
        if self._held is not None and now < self._held.until:
            return self._held
        body = {"username": login[0], "password": login[1]}
        answer = await self._members.ask("POST", self._path, data=body)
        place = f"{self._place}: login"
        if answer.status != httpx.codes.OK:
            raise refusal(place, answer)
        token: _Token = parse_json(place, answer.body, _Token)
        self._held = _Held(token.access_token, now + token.token_ttl * _RENEW_RATIO)
        return self._held


def result_of(place: str, answer: Answer) -> msgspec.Raw:
    """Give the data of an answer, out of its wrapping if there is one.

    Raises:
        RegistryError: the answer is a refusal, by its status or by the code in it.
    """
    if answer.status != httpx.codes.OK:
        raise refusal(place, answer)
    try:
        result = msgspec.json.decode(answer.body, type=Result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(answer.body)  # Version 1 does not wrap; who reads it will judge.
    if result.code == 0:
        return result.data
    said = f"{place}: code {result.code}: {result.message}"
    if result.code == _DENIED:
        raise RegistryDeniedError(f"{said}; check the login or its rights")
    if result.code >= _SERVER_ERROR:
        raise RegistryUnavailableError(said)
    raise RegistryRequestError(said)
