"""How a path of the API becomes Django's routes."""

from __future__ import annotations

from django.urls import URLPattern, path, register_converter
from django.urls.converters import PathConverter
from rest_framework.views import APIView


class TextConverter(PathConverter):
    """Any text, with slashes and line breaks: names that come from catalogues and files are not ours to choose."""

    regex = r"[\s\S]*"


register_converter(TextConverter, "text")


def with_and_without_slash(route: str, view: type[APIView]) -> list[URLPattern]:
    """The route as written, in the schema; and with a slash, out of it. No redirect: it would lose a POST's body.

    A route that ends in a free path has no second form, for the slash may be part of that.
    """
    name = view.__name__.removesuffix("View")
    slashed = [] if "<text:" in route else [path(f"{route}/", view.as_view(schema=None))]
    return [path(route, view.as_view(), name=name), *slashed]
