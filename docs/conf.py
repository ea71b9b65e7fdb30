# SPDX-License-Identifier: MIT
"""The documentation: `sphinx-build -W --keep-going -n docs build/docs`, with `pip install ".[docs]"`."""

import sys
from pathlib import Path

import undertow

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import gallery  # noqa: E402

project = "undertow"
author = "the undertow authors"
project_copyright = "the undertow authors, MIT licence"
release = version = undertow.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "mathml",
    "long_lines",
    "repository",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["README.md", "_ext", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
nitpicky = True
language = "en"
smartquotes_action = "D"  # dashes alone: quotation marks of docstrings are those of code

# -- Markdown ---------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 4

# -- API --------------------------------------------------------------------------------------------------------------

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_param = False  # as lists: one entry may be of several names
napoleon_use_rtype = False
napoleon_custom_sections = [(section, "params_style") for section in ("Attributes", "Raises")]
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
nitpick_ignore_regex = [
    # A name in backticks links where it is one of the API, and is code where it is not.
    ("py:obj", ".*"),
    # Other projects' documentation is not asked: this one builds without a network.
    ("py:(class|exc|data)", r"(np|numpy|os|collections|typing|types|torch|onnx|pathlib|NDArray|ndarray)\b.*"),
    ("py:(class|exc|data)", r"(Any|Callable|Mapping|Sequence|Iterable|Iterator|PathLike|Path|IO|Buffer|ArrayLike)"),
    # Names that stand for what is described where they stand, or whose module is nobody's business.
    ("py:class", r"undertow\.(\w+\.)*_\w+\.\w+"),
    (
        "py:class",
        r"undertow\.(layers\.(frames|recurrence)\._Self|weights\.in_memory\.Readable|loading\.ModelProto|states\.Stateful)",
    ),
]

# -- examples ---------------------------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": gallery.copied(HERE.parent / "build/gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "gallery.ForLearners",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "remove_config_comments": True,
    "abort_on_example_error": False,
    "reset_modules": ("matplotlib",),
}

# -- HTML -------------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "undertow"
html_static_path = ["_static"]
html_css_files = ["undertow.css"]
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

# -- links ------------------------------------------------------------------------------------------------------------

linkcheck_timeout = 10
linkcheck_retries = 1
linkcheck_workers = 4
