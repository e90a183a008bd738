"""What Schemathesis cannot make up by itself."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import strategies as st

SOURCE_URLS = st.from_regex(
    r"\A(https?://[a-z0-9]{1,20}(:[1-9][0-9]{0,3})?(/[a-zA-Z0-9._~-]{0,20}){0,3}"
    r"|smartmob:sha256:[0-9a-f]{64})\Z"
)

schemathesis.openapi.format("uri", SOURCE_URLS)


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """Ask for no weight of processors: only a delegated cgroup sees to it, else that is 400."""
    if isinstance(body, dict) and isinstance(limits := body.get("limits"), dict):
        limits.pop("cpu_weight", None)
    return body
