# SPDX-License-Identifier: MIT
"""How a model is shown: as text, tables, drawings, pictures of its states."""
