"""What the OpenAPI schema cannot find out by itself."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from tasks_app.api.authentication import HEADER


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the schema describes the key."""

    target_class = "tasks_app.api.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": HEADER}
