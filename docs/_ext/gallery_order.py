# SPDX-License-Identifier: MIT
"""The order of the examples in the gallery: first what others build on."""

ORDER = ("lesson", "spotlight", "text", "music", "speech", "forecast", "clicks", "ci")


class ForLearners:
    """Sort key of sphinx-gallery; an example that ORDER does not name stands at the end."""

    def __init__(self, src_dir):
        pass

    def __call__(self, filename):
        name = filename.removesuffix(".py")
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)
