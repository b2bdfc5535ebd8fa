"""The REST API: serializers, filters, views, errors, the OpenAPI schema."""
