"""Send a message to an address that takes JSON."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message as Headers
from typing import Any, NoReturn

__all__ = ["post"]

_PAUSES_S = (0.5, 1.0)  # before each further attempt


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body, and might lead to another scheme."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Headers, newurl: str
    ) -> NoReturn:
        raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)


def post(address: str, body: Mapping[str, Any], deadline: float) -> str:
    """Send JSON, up to three times where the receiver cannot be reached or says that it is in trouble.

    Args:
        address: begins with ``http://`` or ``https://``.
        body: values that JSON can hold.
        deadline: on `time.monotonic`, when to give up.

    Returns:
        What went wrong, as a sentence; empty when it arrived. It holds no more of the address than its host: the rest
        is often a secret.
    """
    if not address.startswith(("http://", "https://")):
        return "the webhook's address does not begin with http:// or https://"
    try:
        place = urllib.parse.urlsplit(address)
        place.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        return "the webhook's address cannot be read"
    receiver = f"the webhook at {place.hostname}"
    for pause_s in (*_PAUSES_S, None):
        problem, again = _try(address, body, deadline - time.monotonic())
        if not problem:
            return ""
        if not again or pause_s is None or time.monotonic() + pause_s >= deadline:
            break
        time.sleep(pause_s)
    return f"{receiver} {problem}"


def _try(address: str, body: Mapping[str, Any], timeout_s: float) -> tuple[str, bool]:
    """What went wrong, and whether another attempt may help."""
    request = urllib.request.Request(
        address,
        data=json.dumps(body, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "perfkit"},
        method="POST",
    )
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=max(timeout_s, 0.1)):
            return "", False
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return f"answered {error.code}: it has moved; put its new address into perfkit.toml", False
        return f"answered {error.code} {error.reason}", error.code >= 500
    except (ValueError, http.client.InvalidURL):  # whose words repeat the address
        return "has an address that cannot be read", False
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return f"could not be reached: {reason or type(error).__name__}", True
