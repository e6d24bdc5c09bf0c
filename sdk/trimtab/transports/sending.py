"""Sending a request, attempt by attempt: the I/O around what `Exchange` decides."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

from trimtab.errors import PickError, SaturatedError
from trimtab.transports.racing import race, try_once
from trimtab.transports.streams import async_stream, sync_stream

if TYPE_CHECKING:
    from trimtab.transports.exchange import Attempt, Exchange

__all__ = ["send", "send_async"]


def send(exchange: Exchange) -> Any:
    """Send a request from synchronous code, and return the response with its body to come."""
    while True:
        attempt = _begin(exchange)
        try:
            response = attempt.transport.handle_request(attempt.request)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pick is given back
            wait_s = exchange.failed(attempt, error)
            if wait_s is None:
                _raise_explained(exchange, error)
        else:
            wait_s = exchange.rejected(attempt, response)
            if wait_s is None:
                return exchange.arrived(attempt, response, sync_stream)
            try:
                response.close()
            finally:
                attempt.released()
        if wait_s:
            threading.Event().wait(wait_s)


async def send_async(exchange: Exchange) -> Any:
    """Send a request from asynchronous code, and return the response with its body to come."""
    if not exchange.has_deadline:
        return await _send_async(exchange)
    with anyio.move_on_after(exchange.time_left_s()):
        return await _send_async(exchange)
    raise exchange.out_of_time("waiting for a response")


async def _send_async(exchange: Exchange) -> Any:
    while True:
        attempt = await _begin_async(exchange)
        delay_s = exchange.hedge_delay_s()
        if delay_s is None:
            end = await try_once(exchange, attempt)
        else:
            end = await race(exchange, attempt, delay_s)
        if end.wait_s is not None:
            await end.discard()
            if end.wait_s:
                await anyio.sleep(end.wait_s)
        elif end.error is not None:
            _raise_explained(exchange, end.error)
        else:
            return exchange.arrived(end.attempt, end.response, async_stream)


def _begin(exchange: Exchange) -> Attempt:
    """Begin an attempt; wait for room on an instance if need be."""
    try:
        try:
            return exchange.attempt()
        except SaturatedError:
            room = threading.Event()
            turn = exchange.service.join(room.set)
            if turn is None:
                raise
        try:
            while room.wait(exchange.patience_s(turn)):
                room.clear()
                with suppress(SaturatedError):
                    return exchange.attempt(turn)
        finally:
            exchange.service.leave(turn)
        raise exchange.no_room()
    except PickError as error:
        raise exchange.as_connect_error(error) from error


async def _begin_async(exchange: Exchange) -> Attempt:
    """Do the same without blocking."""
    try:
        try:
            return exchange.attempt()
        except SaturatedError:
            room = [anyio.Event()]
            turn = exchange.service.join(lambda: room[0].set())  # noqa: PLW0108 - it is another event each time
            if turn is None:
                raise
        try:
            with anyio.move_on_after(exchange.patience_s(turn)):
                while True:
                    await room[0].wait()
                    room[0] = anyio.Event()
                    with suppress(SaturatedError):
                        return exchange.attempt(turn)
        finally:
            exchange.service.leave(turn)
        raise exchange.no_room()
    except PickError as error:
        raise exchange.as_connect_error(error) from error


def _raise_explained(exchange: Exchange, error: BaseException) -> NoReturn:
    explained = exchange.explained(error)
    if explained is error:
        raise error
    raise explained from error
