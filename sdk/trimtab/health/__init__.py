"""Who may take traffic.

Here stands what the registry's word alone decides. Outlier ejection, panic, slow start and
probe schedules will stand beside it, as state machines that take `now`.
"""

from __future__ import annotations

from trimtab.health.eligibility import Reason, reason_against

__all__ = ["Reason", "reason_against"]
