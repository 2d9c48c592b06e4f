"""Pages of HTML in one file, which need no network: their frame, their style, and images in them. Knows no rasters."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from geosr.files import json_text
from geosr.grid import Block

STYLE = Path(__file__).with_suffix(".css")


def document(title: str, body: str, *, script: str = "", data: Any = None) -> str:
    """Return a page for screens of any width, dark or light as the reader's system is.

    `body` is HTML; `script` is JavaScript, which finds `data` as the JSON of the element `data`.
    """
    scripts = "script-src 'unsafe-inline'" if script else "script-src 'none'"
    # A script ends where the letters say so, whatever its type.
    content = json_text(data, indent=None).replace("<", "\\u003c")
    code = f'<script id="data" type="application/json">{content}</script>\n<script>\n{script}</script>\n'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; {scripts}\">\n"
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        f"{body}\n{code if script else ''}</body>\n</html>\n"
    )


def facts(items: Mapping[str, str]) -> str:
    """Return names and values as a list in columns; those without a value are left out."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in items.items() if text)
    return f'<dl class="facts">{rows}</dl>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, label: str) -> str:
    """Return a table that scrolls within the page; the first column names its rows. All texts are plain."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(text)}</td>" for text in row[1:])}</tr>'
        for row in rows
    )
    return wide(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>", label=label)


def wide(content: str, *, label: str) -> str:
    """Return content that scrolls sideways, where it is wider than the page, also by the keyboard."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def folded(title: str, content: str, *, name: str = "") -> str:
    """Return content under a title that opens it."""
    return f"<details{f' id={name}' if name else ''}><summary><h2>{escape(title)}</h2></summary>{content}</details>"


def picture(image: bytes, alt: str) -> str:
    """Return a PNG as an element of a page."""
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(image).decode()}">'


def lossless(image: Block) -> str:
    """Return an image (rows, cols) or (rows, cols, 3) of 8 bits, in OpenCV's order, as a data URI without loss."""
    import cv2

    data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1]
    return "data:image/webp;base64," + base64.b64encode(bytes(data)).decode()
