"""The AdminSite of the operations console."""

from __future__ import annotations

from django.contrib.admin import AdminSite


class ConsoleSite(AdminSite):
    """The stock Django admin under the observatory's name."""

    site_header = "Absurd · DSA-110 operations"
    site_title = "Absurd"
    index_title = "Control room"
