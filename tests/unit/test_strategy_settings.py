"""Strategies with settings, as text and as objects."""

import pickle
from dataclasses import dataclass
from random import Random

import pytest

from trimtab import ConfigurationError, Pool
from trimtab.strategies import Maglev, RingHash, resolve
from trimtab.strategies.round_robin import RoundRobin
from trimtab.strategies.settings import in_words, read


@dataclass(frozen=True)
class Favourite:
    """Settings of a third party's strategy."""

    who: str
    why: str = "no reason"
    often: float | None = 1.0
    always: bool = False

    def __call__(self, rng):
        return RoundRobin(rng)


@pytest.fixture
def third_party(monkeypatch):
    class Entry:
        @staticmethod
        def load():
            return Favourite

    monkeypatch.setattr(
        "trimtab.strategies.settings.entry_points",
        lambda *, group, name: [Entry] if (group, name) == ("trimtab.strategies", "mine") else [],
    )


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("ring_hash", RingHash()),
        ("ring_hash()", RingHash()),
        (" ring_hash( ) ", RingHash()),
        ("ring_hash(1.25)", RingHash(load_factor=1.25)),
        ("ring_hash(load_factor=1.25, min_size = 2048)", RingHash(load_factor=1.25, min_size=2048)),
        ("ring_hash(None, 160)", RingHash(points=160)),
        ("maglev(2, table_size=1009)", Maglev(load_factor=2, table_size=1009)),
    ],
)
def test_text_gives_the_settings(text, settings):
    assert resolve(text) == settings


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("mine(1)", Favourite("1")),
        ("mine('a, (b', \"c=d\")", Favourite("a, (b", "c=d")),
        ("mine(a-1, why=f(x, y=2))", Favourite("a-1", "f(x, y=2)")),
        ("mine(a, f(x=1), often=none, always=TRUE)", Favourite("a", "f(x=1)", None, always=True)),
        ("mine(a, often=1e3)", Favourite("a", often=1000.0)),
        ("mine(a, often=seldom)", Favourite("a", often="seldom")),  # for the class to refuse
    ],
)
def test_a_third_party_has_settings_too(third_party, text, settings):
    assert resolve(text) == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ring_hash(load=2)", r"'load=2' is unknown or given twice; its settings are load_factor"),
        ("ring_hash(2, load_factor=3)", "'load_factor=3' is unknown or given twice"),
        ("ring_hash(2, 2, 3, 4, id, 6)", "'6' is unknown"),
        ("ring_hash(hash_by=zone)", "hash_by is 'zone'; it must be 'id' or 'address'"),
        ("ring_hash(1", "must end with the bracket that it opens"),
        ("ring_hash(1) or so", "must end with the bracket"),
        ("ring_hash(min_size=(1)", "a bracket or a quote is not closed"),
        ("ring_hash('1)", "a bracket or a quote is not closed"),
        ("ring_hash(load_factor=much)", "load_factor is 'much'; it must be above 1"),
        ("random(3)", "random takes no settings"),
        ("nearest(3)", "no strategy is called 'nearest'; known are .*ring_hash"),
        ("mine(often=2)", r"who is missing; write mine\(who=\.\.\.\)"),
        ("mine", "who is missing"),
    ],
)
def test_wrong_text_is_refused_with_a_remedy(third_party, text, said):
    with pytest.raises(ConfigurationError, match=said):
        resolve(text)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (RingHash(), "ring_hash"),
        (RingHash(load_factor=1.25, points=160), "ring_hash(load_factor=1.25, points=160)"),
        (Maglev(load_factor=2), "maglev(load_factor=2)"),
    ],
)
def test_settings_have_their_text_for_a_name(settings, text):
    assert settings.__name__ == text
    assert resolve(text) == settings
    assert Pool(strategy=settings).strategy_name == text
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_factory_among_the_settings_is_called_by_its_name():
    assert in_words("mine", Favourite(RoundRobin)) == "mine(who=RoundRobin)"
    assert in_words("mine", Favourite(Favourite)) == "mine(who=Favourite)"
    assert in_words("mine", Favourite(Favourite("x"))) == "mine(who=Favourite)"


def test_what_has_no_brackets_is_a_name():
    assert read(" random ") == ("random", None)
    assert read("random()") == ("random", [])
    assert isinstance(resolve("random()")(Random(1)), object)
