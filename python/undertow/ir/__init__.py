# SPDX-License-Identifier: MIT
"""What a model is: a Graph of values, states and nodes, and the catalogue of what nodes compute."""
