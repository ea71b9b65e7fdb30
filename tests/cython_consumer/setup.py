# SPDX-License-Identifier: MIT
"""No include folder, no library: Cython finds undertow/stream.pxd where Python finds undertow."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(ext_modules=cythonize([Extension("consumer", ["consumer.pyx"])], language_level=3))
