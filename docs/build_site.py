# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""MkDocs' hook: files of the tree that pages link to become pages of the site, which loads nothing from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url
from pymdownx.slugs import slugify

sys.path.insert(0, str(Path(__file__).resolve().parent))

import tree_links

# What the theme would load from elsewhere for pages that are opened from disk; its copy is part of the site instead
WORKER = "https://unpkg.com/iframe-worker/shim"
COPY = "assets/iframe-worker.js"
ASSETS = ("iframe-worker.js", "site.css")
LOADED = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?https?:[^>]*>|<link\b[^>]*rel=\"?stylesheet[^>]*https?:[^>]*>"
)


def on_config(config):
    """Headings get the anchors that code hosts give them."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files, config):
    """Adds the pages that show what is linked outside of docs/."""
    try:
        found = tree_links.beside([f"docs/{file.src_uri}" for file in files.documentation_pages()])
    except FileNotFoundError as error:
        raise PluginError(str(error)) from error
    for place, text in found.items():
        files.append(File.generated(config, place, content=text))
    for name in ASSETS:
        text = (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"assets/{name}", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links to files of the tree into links to their pages; those of generated pages are turned already."""
    if page.file.generated_by:
        return markdown
    return tree_links.on_site(f"docs/{page.file.src_uri}", markdown)


def on_post_page(output, page, config):
    """Refuses a page that would need a network to be shown."""
    output = output.replace(WORKER, get_relative_url(COPY, page.url))
    found = LOADED.search(output)
    if found:
        raise PluginError(
            f"{page.file.src_uri} would load {found[0]} from elsewhere: the site has to open without a network"
        )
    return output
