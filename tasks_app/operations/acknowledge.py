"""Acknowledge a finding of health."""

from __future__ import annotations

from tasks_app.errors import ParamsInvalid
from tasks_app.models import Acknowledgement
from tasks_app.monitoring.health.faults import CHECKS
from tasks_app.postgresql import clock

FINDINGS = tuple(name.replace(" ", "-") for name in CHECKS)


def acknowledge(finding: str, *, actor: str, reason: str = "") -> Acknowledgement:
    """Hide what the finding has reported until now. Raises ParamsInvalid for a finding that cannot be acknowledged."""
    if finding not in FINDINGS:
        message = f"must be one of {', '.join(FINDINGS)} (got {finding!r})"
        raise ParamsInvalid([{"path": "finding", "message": message}])
    seen, _ = Acknowledgement.objects.update_or_create(
        finding=finding.replace("-", " "),
        defaults={"acknowledged_at": clock.now(), "acknowledged_by": actor, "reason": reason},
    )
    return seen
