"""What a page may load: our own files and nothing else."""

from __future__ import annotations

HEADER = "Content-Security-Policy"
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""Lets scripts add a style element without text, to be filled through its object; no text of a page is let in by it."""
REDOC_STYLE = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
"""The one style that Redoc writes into its page; another one in a later version shows up in the test with a browser."""


def policy(*, style: str = "") -> str:
    """Return the policy; `style` is a source of styles beside our own files."""
    parts = (
        "default-src 'self'",
        *([f"style-src 'self' {style}"] if style else []),
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
    return "; ".join(parts)
