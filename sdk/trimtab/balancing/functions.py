"""The user's own functions in a `Balancer`: how they are called, and what their ends mean.

`Outcomes` reads results and exceptions. `FunctionDelivery` is one request whose attempts are calls
of a blocking function, `AsyncFunctionDelivery` the same for an async one.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from functools import partial
from socket import gaierror
from typing import TYPE_CHECKING, Any

import anyio.lowlevel

from trimtab.calls import FAILURES, Request
from trimtab.errors import ConfigurationError, DeadlineError, DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.balancing.service import Service
    from trimtab.balancing.services import Services
    from trimtab.calls import Ask, Fail, Failure, Step
    from trimtab.instance import Instance
    from trimtab.pool import Pick

__all__ = ["AsyncFunctionDelivery", "FunctionDelivery", "Outcomes", "is_async"]

_USUAL_FAILURES: dict[type[BaseException], Failure] = {
    ConnectionRefusedError: "refused",
    gaierror: "refused",
    TimeoutError: "timeout",
    ConnectionError: "no_response",
    EOFError: "no_response",
    OSError: "no_response",
}
"""What the errors of Python itself mean, by the nearest class."""
_STATUSES = range(100, 600)
_OK = 200
_MAX_WORDS = 200


class Outcomes:
    """What the results and the exceptions of a user's function mean.

    Args:
        failures, status: see `Balancer`.

    Raises:
        ConfigurationError: either is of the wrong kind, or there is no such kind of failure.
    """

    def __init__(self, failures: Any, status: Any) -> None:
        self._by_class = dict(_USUAL_FAILURES)
        self._by_function: Callable[[Exception], Any] | None = None
        if isinstance(failures, Mapping):
            for kind, failure in failures.items():
                _check_failure(kind, failure)
            self._by_class.update(failures)
        elif failures is not None:
            _check_function("failures", failures, "a mapping of classes of exceptions, or a ")
            self._by_function = failures
        if status is not None:
            _check_function("status", status, "a ")
        self._status: Callable[[Any], Any] | None = status

    def failure_of(self, error: Exception) -> Failure:
        """Return what an exception means.

        Raises:
            ConfigurationError: the user's function returned something else than a kind of failure.
            Exception: what the user's function raised.
        """
        if isinstance(error, ConfigurationError):
            return "caller"
        if self._by_function is not None:
            failure = self._by_function(error)
            if failure is not None:
                return _known(failure)
        for kind in type(error).__mro__:
            if kind in self._by_class:
                return self._refined(error, kind)
        if isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            return self.failure_of(error.exceptions[0])
        return "caller"

    def _refined(self, error: Exception, kind: type[BaseException]) -> Failure:
        failure = self._by_class[kind]
        # A client's own subclass of OSError is not a ConnectionRefusedError, whatever its number.
        is_plain = kind in {OSError, ConnectionError} and failure == "no_response"
        is_refused = is_plain and getattr(error, "errno", None) == errno.ECONNREFUSED
        return "refused" if is_refused else failure

    def status_of(self, result: Any) -> int:
        """Return a result's status.

        Raises:
            ConfigurationError: the user's function returned something else than a status.
            Exception: what the user's function raised.
        """
        if self._status is None:
            return _OK
        status = self._status(result)
        if not isinstance(status, int) or status not in _STATUSES:
            raise ConfigurationError(
                f"status returned {status!r}; it must return a number from 100 to 599, as HTTP's "
                "statuses are: 200 for a success, 503 for a failure of the instance"
            )
        return status


class FunctionDelivery:
    """One request: calls of a blocking function. See `trimtab.balancing.drivers.Delivery`.

    Args:
        services: where the service is found.
        name: the service's name.
        function: the user's.
        outcomes: what its ends mean.
        options: of the request; see `Service.request`.
    """

    request: Request
    service: Service

    def __init__(
        self,
        services: Services,
        name: str,
        function: Callable[[Instance], Any],
        outcomes: Outcomes,
        options: dict[str, Any],
    ) -> None:
        self._services = services
        self._name = name
        self._function = function
        self._outcomes = outcomes
        self._options = options
        self._error: Exception | None = None

    def begin(self) -> Step:
        """Start the request."""
        while True:
            self.service = self._services.get(self._name)
            self.request = self.service.request(**self._options)
            step = self.service.begin(self.request)
            if step is not None:
                return step

    def send(self, pick: Pick) -> Any:
        """Call the function."""
        result = self._function(pick.instance)
        if inspect.isawaitable(result):
            _abandon(result)
            raise ConfigurationError(
                f"service {self._name!r}: {self._function!r} is not an async function, and "
                "returned an awaitable; write it as `async def`, and await inside"
            )
        return result

    def answered(self, pick: Pick, result: Any) -> Step:
        """Take a result."""
        try:
            status = self._outcomes.status_of(result)
        except Exception as error:  # noqa: BLE001 - any error of the user's function
            return self._failed(pick, error, "caller")
        return self.service.completed(self.request, pick, status)

    def failed(self, pick: Pick, error: Exception) -> Step:
        """Take what the function raised."""
        try:
            failure = self._outcomes.failure_of(error)
        except Exception as wrong:  # noqa: BLE001 - any error of the user's function
            if wrong is not error:
                wrong.__cause__ = error
            return self._failed(pick, wrong, "caller")
        return self._failed(pick, error, failure)

    def ask(self, _step: Ask) -> Any:
        """Do nothing: how to ask is not known."""

    def discard(self, _pick: Pick, _result: Any) -> Any:
        """Do nothing: a result is the user's."""

    def finish(self, _pick: Pick, result: Any) -> Any:
        """Return the function's result as it is."""
        return result

    def error(self, fail: Fail) -> BaseException:
        """Return the caller's error; the last attempt's own error is it, or is its cause."""
        # Taken out: a traceback that leads back to this object would be a circle.
        last, self._error = self._error, None
        if fail.reason == "attempt":
            assert last is not None
            self._explain(last)
            return last
        error = self._late(fail) if fail.reason == "deadline" else self._without_answer(fail)
        if last is not None:
            error.__cause__ = last
        return error

    def _failed(self, pick: Pick, error: Exception, failure: Failure) -> Step:
        self._error = error
        return self.service.failed(self.request, pick, failure, _words(error))

    def _explain(self, error: Exception) -> None:
        """Note on the user's error what was tried before."""
        history = self.request.history
        if len(history) > 1:
            error.add_note(
                f"service {self._name!r}: {len(history)} attempts failed: {', then '.join(history)}"
            )

    def _late(self, fail: Fail) -> Exception:
        history = self.request.history
        before = f"; before: {', then '.join(history)}" if history else ""
        return DeadlineError(
            f"service {self._name!r}: its deadline of {self.request.deadline_s:g} s has passed "
            f"while {fail.doing}{before}"
        )

    def _without_answer(self, fail: Fail) -> Exception:
        error = self.service.error_of(self.request, fail)
        if not isinstance(error, DiscoveryError):
            return error
        # All requests that wait for a list share one error: each caller raises a copy of its own.
        own = copy(error)
        own.__cause__ = error.__cause__
        return own


class AsyncFunctionDelivery(FunctionDelivery):
    """The same for an async function."""

    async def send(self, pick: Pick) -> Any:
        """Call the function and await it."""
        try:
            return await self._function(pick.instance)
        except asyncio.CancelledError:
            # Some clients, such as grpc.aio, raise a new cancellation in place of the one that they
            # got. A cancel scope does not recognise that as its own; here it cancels once more.
            await anyio.lowlevel.checkpoint_if_cancelled()
            raise

    async def ask(self, _step: Ask) -> None:
        """Do nothing: how to ask is not known."""

    async def discard(self, _pick: Pick, _result: Any) -> None:
        """Do nothing: a result is the user's."""


def is_async(function: Any) -> bool:
    """Return whether a function, a partial or a callable object is async."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method is wanted, not whether it is
    )


def _check_failure(kind: Any, failure: Any) -> None:
    """Refuse a pair in `failures` that could never count."""
    is_class = isinstance(kind, type) and issubclass(kind, Exception)
    if not is_class or not _is_known(failure):
        raise ConfigurationError(
            f"failures has {kind!r}: {failure!r}; write classes of `Exception`s with one of "
            f"{', '.join(sorted(FAILURES))}"
        )


def _check_function(name: str, function: Any, article: str) -> None:
    if not callable(function) or isinstance(function, type) or is_async(function):
        raise ConfigurationError(
            f"{name} is {function!r}; it must be {article}function that is not async"
        )


def _is_known(failure: Any) -> bool:
    return isinstance(failure, str) and failure in FAILURES


def _known(failure: Any) -> Failure:
    if not _is_known(failure):
        raise ConfigurationError(
            f"failures returned {failure!r}; it must return None or one of "
            f"{', '.join(sorted(FAILURES))}"
        )
    known: Failure = failure
    return known


def _words(error: Exception) -> str:
    """Return an error in words on one line, of bounded length."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _MAX_WORDS else f"{words[:_MAX_WORDS]}..."


def _abandon(awaitable: Any) -> None:
    """End an awaitable that is not awaited: a coroutine is closed, a task or call cancelled."""
    end = getattr(awaitable, "close", None) or getattr(awaitable, "cancel", None)
    if callable(end):
        with suppress(Exception):
            end()
