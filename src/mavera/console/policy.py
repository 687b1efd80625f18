"""
The headers of every answer of the console.

The policy allows a page nothing but its own server's files: no inline script, no inline style, no other host.
"""

from starlette.responses import Response

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "media-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    # An answer for htmx may be a fragment.
    "vary": "HX-Request, Cookie",
    "cache-control": "private, no-cache",
}


def secure(response: Response) -> Response:
    """Add the headers that `response` does not have already."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
