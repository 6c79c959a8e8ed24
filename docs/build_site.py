# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MkDocs' hook: the tree's files that pages link to become pages of the site, which loads nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from pymdownx.slugs import slugify

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tree_links

LOADED = re.compile(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?https?:[^>]*>|<link\b[^>]*rel=\"?stylesheet[^>]*https?:[^>]*>")


def on_config(config):
    """Headings get the anchors that code hosts give them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files, config):
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    for place, text in tree_links.beside(pages).items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    if page.file.generated_by:
        return markdown
    return tree_links.on_site(f"docs/{page.file.src_uri}", markdown)


def on_post_page(output, page, config):
    found = LOADED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} would load {found[0]} from elsewhere: the site has to open without a network")
    return output
