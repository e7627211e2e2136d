"""The command that adds an extra to this installation of calpow, for messages."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import distributions
from urllib.parse import unquote, urlsplit

NAME = "calpow"


def install_command(extra: str) -> str:
    """Return a `pip install` that brings an extra from where calpow was installed from: a folder, a file, git or PyPI.

    pip keeps that place in `direct_url.json` (PEP 610), and writes no such file for packages of an index.
    """
    # A clone may hold an egg-info, which shadows the installed calpow when Python is started there.
    installed = next((found for found in distributions(name=NAME) if found.read_text("WHEEL")), None)
    text = installed.read_text("direct_url.json") if installed else None
    return f"pip install {_arguments(extra, text)}"


def _arguments(extra: str, direct_url: str | None) -> str:
    plain = f"{NAME}[{extra}]"
    try:
        origin = json.loads(direct_url or "{}")
        url = str(origin.get("url", ""))
        if "vcs_info" in origin:
            return shlex.quote(f"{plain} @ {origin['vcs_info']['vcs']}+{url}")
        if urlsplit(url).scheme == "file":
            editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
            return editable + shlex.quote(f"{unquote(urlsplit(url).path)}[{extra}]")
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # not as PEP 610 has it
    return shlex.quote(plain)
