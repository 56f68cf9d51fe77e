"""Serve pages about all runs of a store (the extra ``dacapo[dashboard]``)."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any

from dacapo.errors import ConfigError
from dacapo.ext import optional_module
from dacapo.options import DaCapoConfig
from dacapo.utils.listening import listen
from dacapo.web.catalogue import Catalogue

PORT = 8765


class Dashboard:
    """A server of pages about runs.

    ::

        dashboard = Dashboard(port=0)
        print(dashboard.url)
        dashboard.serve()  # until Ctrl-C

    Attributes:
        token: Token that requests need, None if the server can be reached from this machine only and none was given.
        host: The address that it listens to.
        port: Its port.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        token: str | None = None,
        names: Sequence[str] = (),
        options: DaCapoConfig | None = None,
    ) -> None:
        """Open the stores and the port.

        Args:
            host: Address to listen to; one that other machines reach makes a token if none is given.
            port: Port, 0 for any free one.
            token: Token that requests need.
            names: Further names under which browsers reach this server.
            options: Where the stores are; by default the options in use.

        Raises:
            ConfigError: If the address or port cannot be used, or the token is empty.
            MissingDependencyError: If the packages of the extra are not installed.
        """
        for module in ("starlette", "uvicorn"):
            optional_module(module, f"the dashboard needs {module}")
        from dacapo.web.app import create_app
        from dacapo.web.guard import LOOPBACK, is_loopback

        if token is not None and not token.strip():
            raise ConfigError("the token of the dashboard is empty; leave it out, and one is made where one is needed")
        open_to_others = not is_loopback(host)
        self.token = token or (secrets.token_urlsafe(24) if open_to_others else None)
        self._socket = listen(host, port)
        self._socket.listen()  # requests wait from now on, those of a browser that opens at once too
        self.host, self.port = host, int(self._socket.getsockname()[1])
        own = (host, socket.gethostname(), socket.getfqdn()) if open_to_others else (host,)
        self.app = create_app(Catalogue(options), (*LOOPBACK, *own, *names), self.token)
        self._server: Any = None

    @property
    def url(self) -> str:
        """Address to open in a browser, with the token if there is one."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104  # compared
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def serve(self, ready: Callable[[], None] | None = None) -> None:
        """Answer requests until Ctrl-C, or :meth:`stop` from another thread.

        Args:
            ready: Called before the first request.
        """
        uvicorn = optional_module("uvicorn", "the dashboard needs uvicorn")
        config = uvicorn.Config(
            self.app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        if ready is not None:
            ready()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Make :meth:`serve` return soon."""
        if self._server is not None:
            self._server.should_exit = True
