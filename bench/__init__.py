# SPDX-License-Identifier: MIT
"""Benchmarks: `python -m bench`. The method and what each number means: bench/README.md."""
