"""Sphinx configuration. Built by ``make docs``, warnings are errors and every reference must resolve."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "Reconcile"
author = "the Reconcile authors"
project_copyright = author
release = version = metadata.version("reconcile-k8s")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "attribute_text",
    "attrs_defaults",
    "command_help",
    "metrics_table",
    "unlinked_annotations",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
root_doc = "index"

html_theme = "furo"
html_title = "Reconcile"
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # or a default of os.environ would print the environment of whoever builds this
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
# The sections of our docstrings beside Google's own.
napoleon_custom_sections = [("Guarantees", "notes_style"), ("Assumptions", "notes_style"), ("Caveats", "notes_style")]

nitpicky = True
# Other projects' names are not linked: the build needs no network. Ours must resolve.
nitpick_ignore_regex = [(r"py:.*", r"(?!reconcile\.).*"), (r"py:obj", r"reconcile\..*\.[KT]")]
