"""The site: `sphinx-build -W --keep-going -n docs docs/_build` (`.ci/run docs`).

There is no public address yet, so that nothing (`_doc_link_template` of estimators'
diagrams, `html_baseurl`) links to one.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import sklearn_stackelberg

sys.path.insert(0, str(Path(__file__).parent))

project = "sklearn_stackelberg"
copyright = "The sklearn_stackelberg developers"
version = release = sklearn_stackelberg.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "_site",
]
exclude_patterns = ["_build", "search.md"]  # docs/_site.py has the latter
templates_path = ["_templates"]
# A block without a language is an equation or a command: no words of it are Python's.
highlight_language = "none"
# s' is a next state, and no quotation mark.
smartquotes = False

# Pages
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

# Reference. Types stand in the sections of the docstrings, and in signatures would
# repeat them. In docstrings `name` is code; `link_names` links what has a page.
default_role = "literal"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# Copied without prompts, and without what is printed.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "sklearn_stackelberg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}


# Examples that are shown without being run where the package of their data is missing.
# All others take seconds to three minutes, and are run.
DATA_OF = {
    "actg320": "sksurv",
    "open_bandit": "obp",
    "sepsis_exact_value": "icu_sepsis",
    "three_stages": "zepid",
}
not_run = [name for name, package in DATA_OF.items() if find_spec(package) is None]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "examples",
    "filename_pattern": rf"/(?!(?:{'|'.join(not_run)})\.py)\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib", "_site.prepare_example"),
    "image_scrapers": ("_site.saved_pictures",),
    "doc_module": ("sklearn_stackelberg",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 600,  # seconds, of whichever machine it was
}
