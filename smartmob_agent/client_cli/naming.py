"""The name of an app, from where its source is.  Pure."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from smartmob_agent.client_cli.failure import WRONG_USE, CommandError

__all__ = ["app_name", "is_url"]

_SUFFIXES = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$")
_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")
_KINDS = r"(?:legacy\.)?(?:tar\.gz|zip)"
_ARCHIVES_OF_REPOSITORIES = [
    re.compile(pattern)
    for pattern in (
        # GitHub and Gitea, for branches and tags, below any path.
        r"(?:.+/)?([^/]+)/archive/refs/(?:heads|tags|pull)/.+",
        # GitLab, where groups may be nested; and its API, now and before.
        r".+/([^/]+)/-/archive/.+",
        r"(?:.+/)?([^/]+)/repository/(?:.+/)?archive(?:\.[a-z0-9.]+)?",
        # GitHub, Gitea, sourcehut, Bitbucket, codeload; and the APIs of the first two.
        rf"(?:(?:api/v\d+/)?repos/)?[^/]+/([^/]+)/(?:archive|get|tarball|zipball|{_KINDS})/.+",
        r"(?:api/v\d+/)?repos/[^/]+/([^/]+)/(?:tarball|zipball)",
        # The API of a Bitbucket of one's own.
        r".+/projects/[^/]+/repos/([^/]+)/archive",
        # cgit and gitweb.
        r"(?:.+/)?([^/]+\.git)/snapshot/.+",
    )
]
"""Paths without the first slash; the name of the repository is the group."""


def is_url(source: str) -> bool:
    """Whether the agent downloads the source itself."""
    return source.startswith(("http://", "https://"))


def app_name(source: str) -> str:
    """Return a name for an app, from the path of its source.

    The archives of a repository have the names of branches and tags; the app is named after the
    repository.

    Raises `CommandError`.
    """
    found = _name_in_url(source) if is_url(source) else Path(source).resolve().name
    name = _OTHERS.sub("-", _SUFFIXES.sub("", found)).strip("-")[:64]
    if not name:
        raise CommandError(f"no name for {source}", hint="--app gives one", code=WRONG_USE)
    return name


def _name_in_url(url: str) -> str:
    path = urlsplit(url).path.strip("/")
    for pattern in _ARCHIVES_OF_REPOSITORIES:
        if found := pattern.fullmatch(path):
            # In the API of GitLab the name is GROUP%2FREPO.
            return unquote(found[1]).rpartition("/")[2].removesuffix(".git")
    return unquote(path.rpartition("/")[2])
