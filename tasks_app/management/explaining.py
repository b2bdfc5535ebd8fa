"""An explanation as the shell writes it."""

from __future__ import annotations

from typing import Any

from tasks_app import formats
from tasks_app.monitoring.explain.findings import Explanation


def shape_of(explanation: Explanation) -> dict[str, Any]:
    """Return what the API answers."""
    from tasks_app.api.explanation_shapes import ExplanationSerializer  # here, because it loads the API's libraries

    return dict(ExplanationSerializer(explanation).data)


def lines_of(explanation: Explanation) -> list[str]:
    """Return the lines for people."""
    lines = [
        f"{explanation.task_name} {explanation.task_id} in {explanation.queue_name}: {explanation.state} at "
        f"{formats.moment(explanation.as_of)}",
        explanation.summary,
    ]
    for number, finding in enumerate(explanation.findings, start=1):
        lines += ["", f"{number}. {finding.code} ({finding.severity}): {finding.text}"]
        if finding.remedy:
            lines.append(f"   Remedy: {finding.remedy}")
    return lines
