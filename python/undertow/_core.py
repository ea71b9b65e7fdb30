# SPDX-License-Identifier: MIT
"""Models: the other half of the file that `undertow.stream` is loaded from, so that both share one copy of the engine.

A shared library may hold several modules, of which an import by name finds the one that its file is called after
(PEP 489); this loads the other in place of itself.
"""

import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location


def _load() -> None:
    holder = find_spec("undertow.stream")
    if holder is None or not holder.has_location:
        raise ModuleNotFoundError("undertow is not built: pip install . (undertow.stream is missing)", name=__name__)
    spec = spec_from_file_location(__name__, holder.origin, loader=ExtensionFileLoader(__name__, str(holder.origin)))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[__name__] = module
    spec.loader.exec_module(module)


_load()
