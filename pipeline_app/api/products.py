"""Products: lists, details, their files and their pictures."""

from __future__ import annotations

from pathlib import Path

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline_app import downloads
from pipeline_app.api.filters import ProductFilter
from pipeline_app.api.finding import found
from pipeline_app.api.permissions import VIEW_PRODUCT
from pipeline_app.api.serializers import ProductDetailSerializer, ProductListSerializer, ProductSerializer
from pipeline_app.models import Product
from tasks_app.api.bounds import bounded
from tasks_app.api.filters import narrowed, parameters
from tasks_app.api.negotiation import AnythingAccepted
from tasks_app.api.pagination import paged, refuse_unknown

RANGE = OpenApiParameter("Range", str, OpenApiParameter.HEADER, description="bytes=…, one range.")


class ProductListView(APIView):
    """The products, newest first."""

    needs = {"GET": VIEW_PRODUCT}

    @extend_schema(operation_id="list_products", parameters=parameters(ProductFilter), responses=ProductListSerializer)
    def get(self, request: Request) -> Response:
        rows = Product.objects.defer("inputs", "params", "versions")
        with bounded():
            products, following = paged(narrowed(ProductFilter, rows, request), request)
        return Response({"products": ProductSerializer(products, many=True).data, "next": following})


class ProductView(APIView):
    """One product with all that is known of its making."""

    needs = {"GET": VIEW_PRODUCT}

    @extend_schema(operation_id="get_product", responses=ProductDetailSerializer)
    def get(self, request: Request, pk: int) -> Response:
        return Response(ProductDetailSerializer(found(Product.objects.all(), pk)).data)


def _send(request: Request, product: Product, path: Path | None) -> HttpResponseBase:
    refuse_unknown(request.query_params, set())
    gone = NotFound(f"{product.path} is not on this host, or does not lie below ABSURD_DATA_ROOTS")
    if path is None:
        raise gone
    try:
        return downloads.send(product, path, request.headers)
    except OSError:
        raise gone from None


class ProductFileView(APIView):
    """The file itself, or the directory as tar."""

    needs = {"GET": VIEW_PRODUCT}
    content_negotiation_class = AnythingAccepted

    @extend_schema(
        operation_id="get_product_file",
        parameters=[RANGE],
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (200, "application/x-tar"): OpenApiTypes.BINARY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        product = found(Product.objects.all(), pk)
        return _send(request, product, downloads.locate(product))


class ProductPreviewView(APIView):
    """The product as a picture: itself if it is one, else the first that the same task made."""

    needs = {"GET": VIEW_PRODUCT}
    content_negotiation_class = AnythingAccepted

    @extend_schema(operation_id="get_product_preview", responses={(200, "image/png"): OpenApiTypes.BINARY})
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        product = found(Product.objects.all(), pk)
        shown: Product | None = product
        if product.kind not in downloads.PICTURES:
            beside = Product.objects.filter(task_id=product.task_id, kind__in=downloads.PICTURES)
            shown = beside.order_by("-kind", "id").first()
        if shown is None:
            raise NotFound(f"the task that made product {pk} made no picture")
        return _send(request, shown, downloads.picture_path(shown))
