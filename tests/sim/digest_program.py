"""Prints the digests of small scenarios at each depth, for comparison between processes.

Regenerate the committed ones after a change that is meant to alter traces:

    python tests/sim/digest_program.py > tests/sim/golden_digests.json
"""

import json
import logging

from trimtab_sim.scenario import Scenario
from trimtab_sim.simulation import simulate

_WORLD = """
[scenario]
duration = "5s"
[service]
servers = 8
time = {law = "exponential", mean = "10ms"}
[[clients]]
count = 2
timeout = "200ms"
arrivals = {kind = "poisson", rate = 60}
"""


def _with(action, **settings):
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join([_WORLD, "[[timeline]]", f'action = "{action}"', 'at = "2s"', *lines])


# What connections do not change: all depths agree.
ALIKE = {
    "plain": _WORLD,
    "crash": _with("crash", targets="{count = 3}", duration='"2s"'),
    "work lost in a crash of all": _with("crash", targets='"all"', duration='"1s"'),
    "slow": _with("slow", targets="{count = 2}", factor=40, duration='"2s"'),
    "errors": _with("errors", targets="{count = 4}", rate='"30%"', status=503),
    "half open": _with("gray", targets="{count = 4}", share='"20%"', effect='"hang"'),
    "hang": _with("hang", targets="{count = 2}", duration='"1s"'),
    "flapping": _with("flap", targets="{count = 2}", period='"700ms"', duration='"2s"'),
    "replaced": _with("replace", targets="{count = 3}", every='"300ms"', drain='"500ms"'),
    "registry away": _with("registry_outage", duration='"2s"'),
    "full queues": _WORLD.replace("servers = 8", "servers = 2\nqueue_limit = 0"),
    "POST": _with("crash", targets='"all"').replace(
        'timeout = "200ms"', 'timeout = "200ms"\nmethod = "POST"'
    ),
    "HEAD": _WORLD.replace('timeout = "200ms"', 'timeout = "200ms"\nmethod = "HEAD"'),
    "closed loop, all at once": _WORLD.replace("exponential", "constant").replace(
        '{kind = "poisson", rate = 60}',
        '{kind = "closed", concurrency = 2, think = {law = "constant", mean = "50ms"}}',
    ),
    "pushed lists": _with("crash", targets="{count = 3}") + '\n[registry]\nmode = "push"\n',
}
# What connections do change: `core` and `client` agree, `wire` knows better.
TOLD_APART = {
    "network": _WORLD + '[network]\nlatency = {law = "exponential", mean = "2ms"}\nloss = "1%"\n',
    "black hole": _with("black_hole", targets="{count = 2}"),
    "refuse": _with("refuse", targets="{count = 3}", duration='"2s"'),
    "partition": _with("partition", **{"from": '"client:0"', "to": '"servers"'}, duration='"1s"'),
}


def digest(text, depth, **settings):
    """Run one and give its digest."""
    return simulate(Scenario.from_toml(text), depth=depth, seed=7, **settings).recorder.digest()


def digests():
    """Give the digest of each scenario at the depths that matter."""
    found = {name: digest(text, "core") for name, text in ALIKE.items()}
    for name, text in TOLD_APART.items():
        found[name] = digest(text, "client")
        found[f"{name}, on the wire"] = digest(text, "wire")
    return found


if __name__ == "__main__":
    logging.disable()
    print(json.dumps(digests(), indent=1))
