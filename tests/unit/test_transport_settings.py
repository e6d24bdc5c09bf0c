"""Settings of the transport that are wrong are told when it is made."""

import pytest

from trimtab import BalancedTransport, Balancer, ConfigurationError, Directory, Pool


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_drain_timeout_below_zero_is_an_error(value):
    with pytest.raises(ConfigurationError, match="drain_timeout_s"):
        BalancedTransport("static://10.0.0.1:80", drain_timeout_s=value)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_maximum_age_that_is_not_above_zero_is_an_error(value):
    with pytest.raises(ConfigurationError, match="connection_max_age_s"):
        BalancedTransport("static://10.0.0.1:80", connection_max_age_s=value)


def test_it_is_an_object_of_neither_family():
    """Clients for httpx2 refuse objects of httpx, and anthropic looks at all the classes."""
    roots = {kind.__module__.partition(".")[0] for kind in BalancedTransport.__mro__}
    assert roots == {"builtins", "trimtab"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"min_connections": -1}, "min_connections is -1; it must be a whole number from 0 to 100"),
        ({"min_connections": 1.5}, "min_connections is 1.5"),
        ({"min_connections": True}, "min_connections is True"),
        ({"min_connections": 101}, "min_connections is 101"),
        ({"min_connections": 2, "reconnect": False}, "neither without `reconnect`"),
        ({"min_connections": 2, "inner": lambda _: None}, "an `inner` of your own"),
        ({"min_connections": 2, "inner": lambda _: None, "reconnect": True}, "of your own"),
    ],
)
def test_connections_beforehand_need_something_that_opens_them(settings, said):
    with pytest.raises(ConfigurationError, match=said):
        BalancedTransport("static://h:1", **settings)


OF_POOLS = ("health", "concurrency", "priorities")
OF_BALANCERS = (
    *OF_POOLS,
    "discovery",
    "retry",
    "hedge",
    "probe",
    "reconnect",
    "subset",
    "listener",
)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda **given: BalancedTransport("static://h:1", **given), OF_BALANCERS),
        (lambda **given: Balancer("static://h:1", **given), OF_BALANCERS),
        (lambda **given: Directory("static://h:1", **given), ("settings",)),
        (Pool, OF_POOLS),
    ],
    ids=["transport", "balancer", "directory", "pool"],
)
@pytest.mark.parametrize("value", [{}, 3, "x", 0, ""], ids=repr)
def test_settings_of_another_kind_are_told(make, names, value):
    for name in names:
        with pytest.raises(ConfigurationError, match=f"^{name} is "):
            make(**{name: value})
