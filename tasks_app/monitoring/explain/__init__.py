"""Why a task is not running, how it is running, or how it ended, from the rows alone.

Each cause is a finding with a stable code, a sentence, a remedy, and the numbers behind it, the decisive one first. All
is read in one snapshot, by the database's clock, with a bounded number of queries of bounded cost.
"""

from tasks_app.monitoring.explain.explanation import explain, explain_id
from tasks_app.monitoring.explain.findings import Code, Explanation, Finding

__all__ = ["Code", "Explanation", "Finding", "explain", "explain_id"]
