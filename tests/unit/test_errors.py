"""The error tree is the one that its module draws."""

import builtins
import copy
import inspect
import pickle
import re

import pytest

import trimtab
from trimtab import errors


def drawn():
    """Read the tree from the docstring: (name, parent by indentation, other parent)."""
    found, path = [], {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ([│ ]*(?:[├└]── )?)(\w+Error)(?: \((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 4
            path[depth] = match[2]
            found.append((match[2], path.get(depth - 1), match[3]))
    return found


def test_the_drawing_is_true_and_whole():
    tree = drawn()
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    assert {name for name, _, _ in tree} == set(classes)
    for name, parent, other in tree:
        wanted = [classes[parent] if parent else Exception]
        wanted += [getattr(builtins, other)] if other else []
        assert list(classes[name].__bases__) == wanted


def test_every_error_has_a_docstring_and_is_public():
    for name, class_ in inspect.getmembers(errors, inspect.isclass):
        assert class_.__doc__
        assert getattr(trimtab, name) is class_


def test_errors_carry_what_their_handlers_need():
    assert errors.NoInstancesError("none", service="orders").service == "orders"
    error = errors.NoEligibleInstanceError("none", service="orders", reasons={"critical": 2})
    assert (error.service, error.reasons) == ("orders", {"critical": 2})
    assert errors.NoEligibleInstanceError("none").reasons == {}
    assert errors.DiscoveryTimeoutError("late", service="orders").service == "orders"
    with pytest.raises(errors.DiscoveryError):
        raise errors.DiscoveryTimeoutError("late")


ATTRIBUTES = {
    "PickError": {"service": "orders"},
    "NoEligibleInstanceError": {"reasons": {"critical": 2}},
    "DiscoveryError": {"service": "orders"},
}
"""What a class adds to those of its parents."""
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(
            pickle.dumps(error, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("name", [name for name, _, _ in drawn()])
@pytest.mark.parametrize("way", COPIES)
def test_errors_survive_copying_and_pickling_with_their_attributes(name, way):
    class_ = getattr(errors, name)
    given = {}
    for parent in class_.__mro__:
        given |= ATTRIBUTES.get(parent.__name__, {})
    error = class_("what happened", **given)
    error.add_note("a note")
    copied = COPIES[way](error)
    assert type(copied) is class_
    assert (str(copied), copied.args) == ("what happened", error.args)
    assert vars(copied) == vars(error)
    assert {each: getattr(copied, each) for each in given} == given
