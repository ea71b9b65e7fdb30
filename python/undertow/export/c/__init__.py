# SPDX-License-Identifier: MIT
"""A model as C99: `emit` walks the graph, `program` collects what it needs, one module for each kind of op, `page` is
the header, `numerics` takes functions out of the engine's own headers.
"""
