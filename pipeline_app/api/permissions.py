"""What each resource asks of its caller: a key that may read, or a person who may view it."""

from __future__ import annotations

from tasks_app.auth.requirements import Need

VIEW_OBSERVATION = Need(scope="read", permission="pipeline_app.view_observation")
VIEW_PRODUCT = Need(scope="read", permission="pipeline_app.view_product")
VIEW_CALIBRATION = Need(scope="read", permission="pipeline_app.view_calibration")
VIEW_MEASUREMENT = Need(scope="read", permission="pipeline_app.view_measurement")
