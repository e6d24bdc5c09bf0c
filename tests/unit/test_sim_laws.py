import math

import numpy as np
import pytest

from trimtab_sim.errors import ScenarioError
from trimtab_sim.laws import (
    Constant,
    Empirical,
    Exponential,
    Hyperexponential,
    Lognormal,
    Pareto,
    parse_law,
)
from trimtab_sim.streams import KeyedUniforms

LAWS = [
    Constant(mean=0.01),
    Exponential(mean=0.01),
    Lognormal(mean=0.01, cv2=3.0),
    Hyperexponential(mean=0.01, cv2=4.0),
    Pareto(mean=0.01, shape=4.5),
    Empirical(values=(0.001, 0.002, 0.003, 0.5)),
    Empirical(values=(0.5, 0.01), ratios=(0.05, 0.95)),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_the_moments_are_those_stated(law):
    # A stratified sample: one point in each of a million equal cells, so the error is the
    # integration's and not chance's.
    cells = 1_000_000
    jitter = KeyedUniforms(1, "laws").block(0, cells)
    sample = law.sampler()
    values = np.array([sample(u) for u in ((np.arange(cells) + jitter) / cells).tolist()])
    assert values.mean() == pytest.approx(law.mean, rel=0.002)
    assert values.var() / values.mean() ** 2 == pytest.approx(law.cv2, rel=0.05, abs=1e-9)
    assert values.min() > 0


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_the_extreme_uniforms_give_finite_durations(law):
    for u in (2.0**-53, 1 - 2.0**-53):
        assert 0 <= law.draw(u) < math.inf


@pytest.mark.parametrize(
    ("law", "u", "seconds"),
    [
        (Constant(mean=2), 0.3, 2),
        (Exponential(mean=2), 1 - math.exp(-1), 2),
        (Lognormal(mean=1, cv2=math.e - 1), 0.5, math.exp(-0.5)),
        (Pareto(mean=3, shape=1.5), 0.0, 1),
        (Pareto(mean=3, shape=1.5), 1 - 8**-1.5, 8),
        (Empirical(values=(3, 1, 2)), 0.34, 2),
        (Empirical(values=(50, 1), ratios=(0.05, 0.95)), 0.94, 1),
        (Empirical(values=(50, 1), ratios=(0.05, 0.95)), 0.96, 50),
        (Hyperexponential(mean=1, cv2=1), 1 - math.exp(-1) / 2, 1),
    ],
)
def test_single_draws(law, u, seconds):
    assert law.draw(u) == pytest.approx(seconds)


def test_each_branch_of_a_hyperexponential_brings_half_of_the_load():
    (p, short), (q, long) = Hyperexponential(mean=1.0, cv2=9.0).branches
    assert p + q == pytest.approx(1)
    assert p * short == pytest.approx(q * long) == pytest.approx(0.5)


def test_a_pareto_law_up_to_shape_2_has_infinite_cv2():
    assert Pareto(mean=1, shape=2.0).cv2 == math.inf


def test_a_table_becomes_a_law():
    assert parse_law({"law": "exponential", "mean": "10ms"}) == Exponential(mean=0.01)
    assert parse_law({"law": "lognormal", "mean": 1, "cv2": 2}) == Lognormal(mean=1, cv2=2.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"law": "exp", "mean": 1}, "exp"),
        ({"mean": 1}, "law"),
        ({"law": "constant"}, "mean"),
        ({"law": "constant", "mean": "soon"}, "is not a duration"),
        ({"law": "constant", "mean": 1, "man": 2}, "man"),
        ({"law": "exponential", "mean": 0}, "mean is 0; it must be above 0"),
        ({"law": "lognormal", "mean": 1, "cv2": 0}, "cv2 is 0"),
        ({"law": "hyperexponential", "mean": 1, "cv2": 0.5}, "has 1 or more"),
        ({"law": "pareto", "mean": 1, "shape": 1}, "above 1"),
        ({"law": "empirical"}, "either a file or values"),
        ({"law": "empirical", "file": "x", "values": [1]}, "either a file or values"),
        ({"law": "empirical", "values": [1, 2], "ratios": [1]}, "a share for each"),
        ({"law": "empirical", "values": [1, 2], "ratios": [0.5, 0.6]}, "add up to 1"),
    ],
)
def test_a_mistake_in_a_law_is_named(table, message):
    with pytest.raises(ScenarioError, match=message):
        parse_law(table)


def test_an_empirical_law_from_a_file(tmp_path):
    (tmp_path / "times.txt").write_text("# measured on Monday\n10ms\n\n0.02\n1m\n")
    law = Empirical(file="times.txt").bind(tmp_path)
    assert law.values == (0.01, 0.02, 60)
    assert law.bind(tmp_path) is law
    unbound = Empirical(file=str(tmp_path / "times.txt"))
    assert unbound.mean == law.mean
    assert unbound.draw(0.99) == 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("10ms\nnan\n", r"times.txt:2: nan is not a duration"),
        ("1\n\n-3\n", r"times.txt:3: -3.0 is not a duration"),
        ("often\n", r"times.txt:1: 'often' is not a duration"),
        ("# nothing\n", "holds no durations"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "times.txt").write_text(content)
    with pytest.raises(ScenarioError, match=message):
        Empirical(file="times.txt").bind(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScenarioError, match=r"nowhere.txt: cannot be read: No such file"):
        Empirical(file="nowhere.txt").bind(tmp_path)


def test_constant_zero_is_a_law():
    assert Empirical(values=(0.0,)).cv2 == Constant(mean=0).draw(0.5) == 0
