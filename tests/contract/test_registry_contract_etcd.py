"""The contract of registries over etcd 3.4 and 3.5, watched and polled."""

from __future__ import annotations

from functools import partial

import pytest

from real.etcd_contract import EtcdHarness, PolledEtcdHarness
from trimtab.testing import RegistrarContract, RegistryContract

pytestmark = pytest.mark.real


class TestEtcd(RegistryContract, RegistrarContract):
    @pytest.fixture(autouse=True)
    def subject(self, etcd):
        self.harness = partial(EtcdHarness, etcd)


class TestPolledEtcd(RegistryContract):
    """Registering is the same code as above."""

    @pytest.fixture(autouse=True)
    def subject(self, etcd):
        self.harness = partial(PolledEtcdHarness, etcd)
