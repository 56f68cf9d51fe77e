"""Points as sources of a gunpowder pipeline."""

from __future__ import annotations

import gunpowder as gp


class GraphSource(gp.BatchProvider):  # type: ignore[misc]
    """Provide the nodes and edges of a graph."""

    def __init__(self, key: gp.GraphKey, graph: gp.Graph) -> None:
        """Set the graph; its spec says which region it covers, node locations are in world units."""
        self.key = key
        self.graph = graph

    def setup(self) -> None:
        """Announce the graph."""
        self.provides(self.key, self.graph.spec)

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Return the part of the graph in the requested region."""
        batch = gp.Batch()
        roi = request[self.key].roi
        part = self.graph.crop(roi).trim(roi)
        part.spec = self.spec[self.key].copy()
        part.spec.roi = roi
        batch[self.key] = part
        return batch
