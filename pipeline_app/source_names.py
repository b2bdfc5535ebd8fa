"""Names of sources by their beginning or by their place, read from indexes: each source has a row for every epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.db import connection

from pipeline_app.models import Measurement
from pipeline_app.positions import Cone

# One look into the index a name, from each name to the next: a DISTINCT would read all epochs of all of them.
_BEGINNING = """
WITH RECURSIVE found AS (
    (SELECT upper(name) COLLATE "C" AS capitals, name FROM pipeline_app_measurement
    WHERE upper(name) COLLATE "C" >= %(first)s ORDER BY 1, 2 LIMIT 1)
    UNION ALL
    SELECT following.* FROM found CROSS JOIN LATERAL (
        SELECT upper(row.name) COLLATE "C", row.name FROM pipeline_app_measurement AS row
        WHERE (upper(row.name) COLLATE "C", row.name) > (found.capitals, found.name) ORDER BY 1, 2 LIMIT 1
    ) AS following
    WHERE starts_with(found.capitals, %(first)s)
)
SELECT name FROM found WHERE starts_with(capitals, %(first)s) LIMIT %(most)s
"""
# The index finds a box; the haversine of the distance decides.
_NEAR = """
SELECT name FROM pipeline_app_measurement CROSS JOIN LATERAL (
    SELECT sind((dec_deg - %(dec_deg)s) / 2) ^ 2
        + cosd(dec_deg) * cosd(%(dec_deg)s) * sind((ra_deg - %(ra_deg)s) / 2) ^ 2 AS haversine
) AS apart
WHERE (point(ra_deg, dec_deg) <@ box(point(%(low_1)s, %(south)s), point(%(high_1)s, %(north)s))
    OR point(ra_deg, dec_deg) <@ box(point(%(low_2)s, %(south)s), point(%(high_2)s, %(north)s)))
    AND haversine <= sind(%(radius_deg)s / 2) ^ 2
GROUP BY name ORDER BY min(haversine), name LIMIT %(most)s
"""


def names_of_last(rows: int, most: int) -> list[str]:
    """Return the names in the last rows."""
    last = Measurement.objects.order_by("-id").values_list("name", flat=True)[:rows]
    return sorted(set(last))[:most]


def names_beginning(text: str, most: int) -> list[str]:
    """Return the names that begin as written, in whatever case, in their order."""
    return _names(_BEGINNING, {"first": text.upper(), "most": most})


def names_near(cone: Cone, most: int) -> list[str]:
    """Return the names of the sources in a cone, the nearest first."""
    radius_deg = cone.radius_arcmin / 60
    south, north = cone.dec_deg - radius_deg, cone.dec_deg + radius_deg
    half_deg = radius_deg / max(math.cos(math.radians(min(abs(cone.dec_deg) + radius_deg, 89.9))), 1e-3)
    low, high = (cone.ra_deg - half_deg, cone.ra_deg + half_deg) if half_deg < 180 else (0.0, 360.0)
    # Beyond the meridian of 0 the box goes on at the other end.
    beyond = (low + 360, 360.0) if low < 0 else (0.0, high - 360) if high > 360 else (low, high)
    values = {
        "ra_deg": cone.ra_deg, "dec_deg": cone.dec_deg, "radius_deg": radius_deg, "south": south, "north": north,
        "low_1": low, "high_1": high, "low_2": beyond[0], "high_2": beyond[1], "most": most,
    }  # fmt: skip
    return _names(_NEAR, values)


def _names(sql: str, values: Mapping[str, Any]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [name for (name,) in cursor.fetchall()]
