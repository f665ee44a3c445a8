"""The plain HTTP side of a running server: health, metrics, versions and the JSON gateway.

Nothing else imports this module, and the server does only when somebody asks over HTTP: most
clients never do, and it would take a good part of the time to start.
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.base.log import Logger
from sampan.loop.rpc_stats import RpcStats
from sampan.store.api.figures import NodeHealth, figures_of
from sampan.store.api.gateway import Gateway
from sampan.store.api.health import HealthRoutes
from sampan.store.api.http import Access, ClientHttp, MetricsHttp
from sampan.store.api.metrics import HealthCounts, exposition
from sampan.store.api.metrics_process import process_families
from sampan.store.api.service import Context
from sampan.store.core.version import CLUSTER_VERSION, SERVER_VERSION
from sampan.store.shell.node import Node
from sampan.wire.grpc.service import MethodTable

__all__ = ["Web"]


class Web:
    """The HTTP handlers of one server; `stats` are those of its client listeners."""

    def __init__(
        self,
        node: Node,
        context: Context,
        services: MethodTable,
        stats: Callable[[], RpcStats],
        log: Logger,
    ) -> None:
        config = node.config
        self._node = node
        self._services = services
        self._stats = stats
        self._counts = HealthCounts()
        routes = HealthRoutes(NodeHealth(node, context), self._counts, log)
        self.metrics = MetricsHttp(health=routes, metrics=self._exposition)
        self.client = ClientHttp(
            health=routes,
            metrics=self._exposition,
            gateway=Gateway(services, log, stats) if config.enable_grpc_gateway else None,
            cluster_version=lambda: CLUSTER_VERSION,
            access=Access(
                cors=config.cors,
                host_whitelist=config.host_whitelist,
                tls=any(url.tls for url in config.listen_client_urls),
            ),
            log=log,
        )

    def _exposition(self) -> bytes:
        figures = figures_of(self._node, self._stats(), SERVER_VERSION, CLUSTER_VERSION)
        return exposition(figures, self._services, self._counts, process_families())
