"""Spans for OpenTelemetry, from the request through the queue to the child.

Off, and without an import, unless the standard variables OTEL_* name a collector. The span of a spawn is kept with its
task as a W3C traceparent; the worker that claims the task records below it how long it waited and each attempt, the
child what its handler does. No Django: the child uses it.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Kind = Literal["internal", "server", "producer", "consumer"]
PREFIX = "OTEL_"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SECRETS = ("HEADERS", "CLIENT_KEY")
"""Ends of the names of variables that hold secrets, which a child is not given."""
FLUSH_SEC = 2.0
"""How long a process that ends waits for its last spans to be sent."""

logger = logging.getLogger(__name__)
_lock = threading.Lock()
_service = "absurd"


def is_wanted() -> bool:
    """Return whether the environment asks for spans."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "")
    return exporter == "otlp" or (not exporter and any(map(os.environ.get, ENDPOINTS)))


ON = is_wanted()
"""Whether this process records spans; nothing else is asked while it does not."""


def begin(service: str) -> None:
    """Set up now what spans need, and name this process in them unless OTEL_SERVICE_NAME does."""
    global _service
    _service = service
    _tracer()


def variables() -> dict[str, str]:
    """Return the variables that a child needs to send spans of its own."""
    if not is_wanted():
        return {}
    return {name: os.environ[name] for name in os.environ if name.startswith(PREFIX) and not name.endswith(SECRETS)}


def _tracer() -> Tracer | None:
    return _set_up()[1] if ON else None


def _set_up() -> tuple[TracerProvider | None, Tracer | None]:
    with _lock:
        return _make()


@cache
def _make() -> tuple[TracerProvider | None, Tracer | None]:
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        logger.warning("OTEL_* ask for spans, but %s is missing: pip install 'absurd-dsa110[otel]'", error.name)
        return None, None
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):  # of opentelemetry-instrument, or of the site
        return provider, provider.get_tracer(__name__)
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _service}
    resource = Resource.create({**named, "process.pid": os.getpid()})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # for spans of handlers and libraries
    atexit.register(flush)
    return provider, provider.get_tracer(__name__)


def flush(limit_sec: float = FLUSH_SEC) -> None:
    """Send what has ended, as far as the collector takes it within the limit."""
    provider = _set_up()[0] if ON else None
    if provider is not None:
        sending = threading.Thread(target=provider.force_flush, daemon=True)
        sending.start()
        sending.join(limit_sec)


def _context_of(traceparent: str) -> Context | None:
    """Return the context below a span of another process; None: below the current one."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None


def _traceparent_of(span: Span) -> str:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent", "")


def current() -> str:
    """Return the traceparent of the current span; empty without one."""
    if _tracer() is None:
        return ""
    from opentelemetry import trace

    return _traceparent_of(trace.get_current_span())


@contextmanager
def span(
    name: str, kind: Kind = "internal", *, parent: str = "", attributes: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Make the block a span below `parent`, a traceparent, or the current one; yield it, or None where spans are off.

    An exception marks it as failed.
    """
    tracer = _tracer()
    if tracer is None:
        yield None
        return
    from opentelemetry.trace import SpanKind

    context, of_kind = _context_of(parent), SpanKind[kind.upper()]
    with tracer.start_as_current_span(name, context, of_kind, attributes=attributes) as started:
        yield started


def mark_failed(span: Span | None, reason: str) -> None:
    """Mark a span as failed; nothing where spans are off."""
    if span is not None:
        from opentelemetry.trace import StatusCode

        span.set_status(StatusCode.ERROR, reason)


class Work:
    """A span that begins in one function and ends in another; its ends may be given more than once."""

    def __init__(self, name: str, kind: Kind = "internal", *, parent: str, attributes: Mapping[str, Any]) -> None:
        self._span: Span | None = None
        self.traceparent = ""
        tracer = _tracer()
        if tracer is None:
            return
        from opentelemetry.trace import SpanKind

        self._span = tracer.start_span(name, _context_of(parent), SpanKind[kind.upper()], attributes)
        self.traceparent = _traceparent_of(self._span)

    def end(self, error: str = "") -> None:
        """End it, as failed where there is an error."""
        if self._span is not None:
            if error:
                mark_failed(self._span, error)
            self._span.end()
        self._span = None


def record(name: str, *, parent: str, started_at: datetime, ended_at: datetime, attributes: Mapping[str, Any]) -> None:
    """Record what lies between two moments as a span."""
    tracer = _tracer()
    if tracer is not None:
        started_ns, ended_ns = (int(moment.timestamp() * 1e9) for moment in (started_at, ended_at))
        tracer.start_span(name, _context_of(parent), attributes=attributes, start_time=started_ns).end(ended_ns)
