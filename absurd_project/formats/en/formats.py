"""ISO dates, and times in UTC with a Z; the names are Django's."""

DATE_FORMAT = SHORT_DATE_FORMAT = "Y-m-d"
TIME_FORMAT = r"H:i:s\Z"
DATETIME_FORMAT = SHORT_DATETIME_FORMAT = r"Y-m-d H:i:s\Z"
