"""What stands before the API: names, credentials, proxies and the log, in their order."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.asgi import App
from smartmob_agent.http.middleware.access_log import log_requests
from smartmob_agent.http.middleware.authentication import (
    FailureLimit,
    Tokens,
    ignore_tokens,
    require_token,
)
from smartmob_agent.http.middleware.disconnect import cancel_at_disconnect
from smartmob_agent.http.middleware.proxy_headers import trust_proxies
from smartmob_agent.http.middleware.request_id import identify_requests
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.http.middleware.trusted_hosts import check_trusted_hosts

__all__ = ["MiddlewareStack", "open_middleware"]


@attrs.define(eq=False)
class MiddlewareStack:
    """Lets in whom `config.security` lets in."""

    _config: AgentConfig
    _tokens: Tokens | None

    def wrap(
        self,
        app: App,
        traffic: Traffic,
        *,
        open_paths: Collection[str] = (),
        any_host_paths: Collection[str] = (),
        quiet_paths: Collection[str] = (),
    ) -> App:
        """Put the gate before an application.

        traffic: counts the requests, also those that are refused.
        open_paths: ask for no token.
        any_host_paths: may be asked under any name, or none.
        quiet_paths: are not logged.

        `scope["request_id"]` is set for it, and requests are cancelled when their clients go.
        """
        security = self._config.security
        app = cancel_at_disconnect(app)
        if self._tokens is None:
            app = ignore_tokens(app)
        else:
            limit = FailureLimit(security.failed_logins)
            app = require_token(app, self._tokens, limit, open_paths)
        app = check_trusted_hosts(app, self._config, any_host_paths)
        # The log has what a proxy said of the client, and what was refused.
        app = log_requests(app, traffic, quiet_paths)
        if security.trusted_proxies:
            app = trust_proxies(app, security.trusted_proxies)
        return identify_requests(app)

    def reload(self) -> None:
        """Read the token file again; if it is no good, the tokens stay as they are."""
        if self._tokens is not None:
            self._tokens.reload()


def open_middleware(config: AgentConfig) -> MiddlewareStack:
    """Read what the gate needs; raises `StartError`."""
    path = config.security.token_file
    return MiddlewareStack(config, None if path is None else Tokens(path))
