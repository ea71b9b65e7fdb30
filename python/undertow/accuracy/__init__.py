# SPDX-License-Identifier: MIT
"""How well a model does: against other runtimes and the reference, with reduced weights, in time."""
