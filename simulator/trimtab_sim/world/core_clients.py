"""Clients at the depth `core`: the SDK's request machine, driven by callbacks."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from trimtab.calls import ANSWER, Ask, Fail, Wait
from trimtab.errors import DiscoveryError
from trimtab.pool import Pick
from trimtab.strategies import REPORT_HEADER, read_load_report
from trimtab_sim.events import call_at
from trimtab_sim.recorder import Outcome
from trimtab_sim.world.attempts import Attempt, send
from trimtab_sim.world.clients import FIRST_BAD_STATUS, Client
from trimtab_sim.world.deadlines import Deadlines

if TYPE_CHECKING:
    from trimtab.balancing import Service, Services
    from trimtab.calls import Failure, Request, Step
    from trimtab_sim.scenario.content import Clients as Group
    from trimtab_sim.world.attempts import Ending
    from trimtab_sim.world.places import Place
    from trimtab_sim.world.servers import Server
    from trimtab_sim.world.world import World

__all__ = ["CoreClient"]

_FAILURES: dict[str, tuple[Failure, Outcome]] = {
    "refused": ("refused", Outcome.REFUSED),
    "broken": ("no_response", Outcome.BROKEN),
    "silent": ("timeout", Outcome.TIMEOUT),
}


class CoreClient(Client):
    """Sends requests through the SDK's service; one timer serves all its time-outs."""

    def __init__(
        self, world: World, place: Place, group: Group, services: Services, *, seed: int | str
    ) -> None:
        super().__init__(world, place, group, seed=seed)
        self._services = services
        self._service: Service | None = None
        self.timeout = float(group.timeout)
        self.method = group.method
        self.deadlines = Deadlines(world.env)
        self._sure_s = world.scenario.discovery_settings.idle_s / 10

    async def open(self) -> Service:
        """Open the service, and wait for its first list."""
        self._service = await self._services.open(self.world.service_name)
        return self._service

    def service(self, now: float) -> Service:
        """Return the service in use."""
        service = self._service
        if service is None or now - service.used_at > self._sure_s:
            # The transport does the same at each request, so that a used service is not dropped.
            service = self._service = self._services.get(self.world.service_name)
        return service

    def begin(self, request: int, now: float) -> None:
        """Send a new request."""
        self._recorder.begin(now)
        _Call(self, request, now).begin()

    def forget_service(self) -> None:
        """Forget the service, because it was dropped: the next request gets it again."""
        self._service = None

    def end(self, call: _Call, outcome: Outcome) -> None:
        """Note that a request has ended."""
        now: float = self._env._now  # noqa: SLF001 - see `events`
        self._recorder.end(call.id, call.started, now, outcome, call.last)
        if self._closed is not None:
            self.over(call.started)

    async def aclose(self) -> None:
        """Close the services."""
        await self._services.aclose()


class _Call:
    """One request: carries out the steps of the request machine in the model.

    Attributes:
        id: the request's number, which keys its random draws.
        started: when it began.
        cost: what it asks of a server.
        sent: the number of attempts that were sent.
        last: the index of the server of the last attempt that ended, or -1.
        out: the attempts under way, if hedging may send two at a time; None otherwise.
    """

    __slots__ = (
        "_wait",
        "client",
        "cost",
        "id",
        "last",
        "out",
        "request",
        "sent",
        "service",
        "started",
    )

    request: Request
    service: Service

    def __init__(self, client: CoreClient, id_: int, started: float) -> None:
        self.client = client
        self.id = id_
        self.started = started
        self.cost = client.cost_of(id_)
        self.sent = 0
        self.last = -1
        self.out: list[_CallAttempt] | None = None
        self._wait: Wait | None = None

    def begin(self) -> None:
        """Start the request."""
        client = self.client
        while True:
            service = self.service = client.service(self.started)
            policies = service.policies
            self.request = service.request(
                cost=self.cost if client.tells_cost else 1,
                method=client.method,
                deadline_s=policies.deadline_s,
            )
            if policies.hedge is not None:
                self.out = []
            step = service.begin(self.request)
            if step is not None:
                break
            client.forget_service()
        self._take(step)

    def answered(self, attempt: _CallAttempt, status: int) -> None:
        """Take an answer; its body ends together with its head."""
        self._left(attempt)
        if attempt.load:
            self._take_load(attempt.pick.member.id, attempt.load)
        step = self.service.completed(self.request, attempt.pick, status)
        if step is ANSWER:
            self._end(Outcome.OK if status < FIRST_BAD_STATUS else Outcome.STATUS)
        else:
            self._take(step)

    def broke(self, attempt: _CallAttempt, ending: str) -> None:
        """Take a failure."""
        failure, outcome = _FAILURES[ending]
        self._left(attempt)
        step = self.service.failed(self.request, attempt.pick, failure)
        self._take(step, outcome)

    def _take(self, step: Step, outcome: Outcome = Outcome.TIMEOUT) -> None:
        """Carry out a step; `outcome` says how the last attempt ended."""
        if isinstance(step, Pick):
            self._send(step)
        elif isinstance(step, Wait):
            self._rest(step)
        elif isinstance(step, Ask):
            _Asking(self, step).begin()
        elif isinstance(step, Fail):
            self._end(_outcome_of(step, outcome))

    def _take_load(self, id_: str, load: str) -> None:
        if load:
            report = read_load_report({REPORT_HEADER: load})
            assert report is not None
            self.service.report(id_, report)

    def asked(self, loads: dict[str, str | None]) -> None:
        """Take what instances say of their load, by their ids; None: no answer in time."""
        for id_, load in loads.items():
            if load is None:
                self.service.report(id_, None)
            else:
                self._take_load(id_, load)
        self._take(self.service.resumed(self.request))

    def _send(self, pick: Pick) -> None:
        client = self.client
        world = client.world
        now: float = world.env._now  # noqa: SLF001 - see `events`
        server = world.by_address[pick.instance.address]
        deadline = min(now + client.timeout, self.request.deadline_at)
        attempt = _CallAttempt(self, pick, server, deadline)
        if self.out is not None:
            self.out.append(attempt)
            if self.request.wake_at is not None:
                call_at(world.env, self.request.wake_at, self._resume)
        world.recorder.send(server, attempt.number, now)
        client.deadlines.add(attempt)
        send(world.env, world.network, attempt)

    def _rest(self, wait: Wait) -> None:
        """Wait until a time, or until the SDK wakes this request."""
        env = self.client.world.env
        self._wait = wait
        self.request.wake = lambda: call_at(env, env.now, self._resume)
        if wait.until < inf:
            call_at(env, wait.until, self._resume)
        # It may have been woken before `wake` was set.
        self._resume(None)

    def _resume(self, _step: Any) -> None:
        step = self.service.resumed(self.request)
        if step is not self._wait:
            self._take(step)

    def _left(self, attempt: _CallAttempt) -> None:
        self.last = attempt.server.place.index
        if self.out is not None:
            self.out.remove(attempt)

    def _end(self, outcome: Outcome) -> None:
        for attempt in self.out or ():
            attempt.is_over = True
        self.client.end(self, outcome)


def _outcome_of(fail: Fail, last: Outcome) -> Outcome:
    """Return how the figures count a failure; `last` says how the last attempt ended."""
    if fail.reason == "attempt":
        return last
    if fail.reason == "deadline":
        return Outcome.TIMEOUT
    is_unlisted = fail.reason == "no_list" or isinstance(fail.error, DiscoveryError)
    return Outcome.NO_LIST if is_unlisted else Outcome.NO_INSTANCE


class _CallAttempt(Attempt):
    """An attempt that belongs to a call."""

    __slots__ = ("call", "deadline", "pick")

    def __init__(self, call: _Call, pick: Pick, server: Server, deadline: float) -> None:
        # Calling the base's constructor would cost another call for each attempt.
        self.client = call.client.place
        self.server = server
        self.request = call.id
        self.number = call.sent
        self.cost = call.cost
        self.is_over = False
        self.life = 0
        self.wants_load = call.service.takes_reports
        self.load = ""
        self.call = call
        self.pick = pick
        self.deadline = deadline
        call.sent += 1

    def arrived(self, ending: Ending, status: int) -> None:
        """Pass the outcome to the request."""
        self.is_over = True
        if ending == "answered":
            self.call.answered(self, status)
        else:
            self.call.broke(self, ending)

    def expired(self) -> None:
        """Pass the client's time-out to the request."""
        self.call.broke(self, "silent")


class _Asking:
    """Questions for the load of some instances, until all are answered or it is too late."""

    def __init__(self, call: _Call, step: Ask) -> None:
        self._call = call
        self._step = step
        self._loads: dict[str, str | None] = {member.id: None for member in step.members}
        self._open = len(step.members)

    def begin(self) -> None:
        """Send the questions."""
        call = self._call
        world = call.client.world
        for member in self._step.members:
            server = world.by_address[member.instance.address]
            number = world.next_request()
            question = _Question(self, member.id, call.client.place, server, number)
            send(world.env, world.network, question)
        if self._open > 0:
            call_at(world.env, self._step.until, lambda _step: self._finish())

    def answered(self, id_: str, load: str | None) -> None:
        """Take an answer; None: it was refused."""
        self._loads[id_] = load
        self._open -= 1
        if not self._open:
            world = self._call.client.world
            # In a step of its own: on an ideal network the answer comes while it is asked.
            call_at(world.env, world.env.now, lambda _step: self._finish(is_done=True))

    def _finish(self, *, is_done: bool = False) -> None:
        if is_done or self._open > 0:
            self._open = -1
            self._call.asked(self._loads)


class _Question(Attempt):
    """One question for a server's load."""

    is_question = True
    __slots__ = ("_asking", "_id")

    def __init__(
        self, asking: _Asking, id_: str, client: Place, server: Server, number: int
    ) -> None:
        super().__init__(client, server, number, 0)
        self._asking = asking
        self._id = id_

    def arrived(self, ending: Ending, status: int) -> None:  # noqa: ARG002 - as in the base
        """Pass the answer on."""
        self.is_over = True
        self._asking.answered(self._id, self.load if ending == "answered" else None)
