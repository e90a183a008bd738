"""Absolute URLs of what an agent has to offer."""

from __future__ import annotations

import attrs

__all__ = ["Links"]


@attrs.frozen
class Links:
    """Absolute URLs; `base` is where clients find the agent, without a slash at the end."""

    base: str

    @property
    def create(self) -> str:
        return f"{self.base}/create-process"

    @property
    def list(self) -> str:
        return f"{self.base}/list-processes"

    @property
    def upload(self) -> str:
        return f"{self.base}/upload-source"

    @property
    def metrics(self) -> str:
        return f"{self.base}/metrics"

    @property
    def description(self) -> str:
        return f"{self.base}/openapi.json"

    def details(self, slug: str) -> str:
        return f"{self.base}/process-status/{slug}"

    def delete(self, slug: str) -> str:
        return f"{self.base}/delete-process/{slug}"

    def attach(self, slug: str) -> str:
        """The same place by WebSocket: http becomes ws, https becomes wss."""
        return f"ws{self.base.removeprefix('http')}/attach-console/{slug}"
