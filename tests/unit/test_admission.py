"""Which instances of an answer may be used."""

import asyncio
import logging
from random import Random

import pytest

from trimtab import ConfigurationError, DiscoverySettings, Instance, RegistryAnswerError
from trimtab.discovery.guard import Admission
from trimtab.discovery.last_known_good import LastKnownGood
from trimtab.discovery.supervisor import Supervisor
from trimtab.testing import FakeRegistry
from trimtab_sim.loop import run

GOOD = tuple(Instance(host="10.0.0.1", port=port) for port in range(1, 4))
NAME = Instance(host="backend-1", port=80)
BAD = Instance(host="169.254.169.254", port=80, id="sly")


def admission(**settings):
    return Admission("fake://one", "orders", DiscoverySettings(**settings))


def test_a_refused_instance_is_left_out_and_named_once(caplog):
    checks = admission()
    for _ in range(3):
        assert checks.permitted((GOOD[0], BAD, *GOOD[1:], NAME)) == (*GOOD, NAME)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "fake://one: 'orders': instance 'sly' skipped: 169.254.169.254 is link-local, where clouds "
        "keep their metadata; name 169.254.0.0/16 in allow_networks to permit it"
    )
    assert checks.permitted(GOOD) == GOOD
    assert checks.permitted((*GOOD, BAD)) == GOOD
    assert len(caplog.records) == 2, "it was away, and is back"


def test_an_answer_without_a_permitted_instance_is_refused():
    with pytest.raises(RegistryAnswerError, match=r"'sly' skipped.*no other instance is permitted"):
        admission().permitted((BAD, BAD.with_(id="other")))
    assert admission().permitted(()) == ()


def test_the_settings_permit_the_networks_that_they_name_and_no_others():
    assert admission(allow_networks=["169.254.0.0/16"]).permitted((BAD,)) == (BAD,)
    assert admission(allow_networks=("10.0.0.1/32",)).permitted((*GOOD, BAD, NAME)) == (*GOOD, NAME)


def test_the_log_names_a_hundred_instances_and_counts_the_rest(caplog):
    bad = tuple(Instance(host="224.0.0.1", port=port) for port in range(1, 5001))
    assert admission().permitted((*GOOD, *bad)) == GOOD
    assert len(caplog.records) == 101
    assert "5000 instances are refused in all" in caplog.text


def test_too_many_are_refused_together():
    checks = admission(max_instances=3)
    assert checks.permitted(GOOD) == GOOD
    with pytest.raises(RegistryAnswerError, match=r"4 instances are more than max_instances, 3"):
        checks.permitted((*GOOD, NAME))


def test_odd_ids_cannot_write_lines_of_the_log(caplog):
    admission().permitted((*GOOD, BAD.with_(id="x\nERROR all is lost")))
    assert "\n" not in caplog.records[0].getMessage()


# In the supervisor


def test_a_refused_answer_leaves_the_list_and_is_a_failure_that_heals():
    async def main():
        registry = FakeRegistry()
        registry.set("orders", GOOD)
        settings = DiscoverySettings(max_instances=3)
        supervisor = Supervisor(registry, "orders", settings, rng=Random(1))
        task = asyncio.get_running_loop().create_task(supervisor.run())
        await supervisor.first(1.0)
        registry.set("orders", (*GOOD, NAME))
        await asyncio.sleep(60)
        during = supervisor.state(0.0)
        registry.set("orders", GOOD[1:])
        await asyncio.sleep(30)
        after = supervisor.snapshot.instances
        task.cancel()
        await asyncio.wait([task])
        return during, after

    during, after = run(main())
    assert (during.instances, during.failures > 5) == (3, True)
    assert "more than max_instances" in during.last_error
    assert after == GOOD[1:]


@pytest.mark.parametrize(("kept", "expected"), [((BAD, *GOOD), GOOD), ((BAD,), None)])
def test_a_list_on_disk_is_checked_too(tmp_path, caplog, kept, expected):
    async def main():
        store = LastKnownGood(
            tmp_path, registry_key="k", registry_url="u", service="orders", max_age_s=60.0
        )
        store.save(kept)
        registry = FakeRegistry()
        registry.fail()
        rng = Random(1)
        supervisor = Supervisor(registry, "orders", DiscoverySettings(), rng=rng, store=store)
        task = asyncio.get_running_loop().create_task(supervisor.run())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return supervisor.snapshot

    snapshot = run(main())
    assert (snapshot and snapshot.instances) == expected
    assert "'sly' skipped" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"allow_networks": "10.0.0.0/8"}, {"allow_networks": ["10.0.0.1/8"]},
        {"max_instances": 0}, {"mode": "pull"}, {"mode": None}, {"resync_interval_s": -1},
        {"resync_interval_s": float("nan")},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(wrong))} "):
        DiscoverySettings(**wrong)


def test_settings_with_equal_networks_share_supervisors():
    one, other = (DiscoverySettings(allow_networks=kind(["10.0.0.0/8"])) for kind in (list, tuple))
    assert (one, hash(one)) == (other, hash(other))
