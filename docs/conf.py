"""Settings of the documentation; ``make docs`` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "dacapo"
author = "the dacapo developers"
copyright = "the dacapo developers"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "myst_parser",
    "config_fields",
    "docstrings",
    "links",
    "pages",
]
exclude_patterns = ["_build", "_ext", "README.md"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

# Every reference must resolve, and warnings are errors (sphinx-build -W).
nitpicky = True
default_role = "py:obj"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "dacapo"
html_static_path = ["_static"]
html_css_files = ["dacapo.css"]
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "native"
