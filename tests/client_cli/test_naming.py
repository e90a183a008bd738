"""How an app is called that has been given no name."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.naming import app_name


@pytest.mark.parametrize(
    "path",
    [
        # GitHub, and Gitea below another path
        "owner/shop/archive/refs/heads/main.tar.gz",
        "owner/shop/archive/refs/heads/feature/new/cart.zip",
        "owner/shop/archive/refs/tags/v1.2.0.tar.gz",
        "owner/shop/archive/refs/tags/@scope/shop@1.0.zip",
        "owner/shop/archive/refs/pull/5/head.zip",
        "git/owner/shop/archive/refs/heads/main.tar.gz",
        "owner/shop/archive/main.zip",
        "owner/shop/archive/0123456789abcdef0123456789abcdef01234567.tar.gz",
        "owner/shop.git/archive/main.tar.gz",
        "owner/shop/tarball/main",
        "owner/shop/zipball/feature/x",
        "repos/owner/shop/tarball/main",
        "repos/owner/shop/zipball",
        "api/v3/repos/owner/shop/tarball/v1",
        "api/v1/repos/owner/shop/archive/main.tar.gz",
        # codeload
        "owner/shop/tar.gz/refs/heads/main",
        "owner/shop/zip/refs/tags/v1",
        "owner/shop/legacy.tar.gz/main",
        # GitLab
        "owner/shop/-/archive/main/shop-main.tar.gz",
        "group/sub/deeper/shop/-/archive/feature/x/shop-feature-x.zip",
        "api/v4/projects/group%2Fsub%2Fshop/repository/archive.tar.gz?sha=main",
        "api/v4/projects/group%2Fshop/repository/archive",
        "group/shop/repository/main/archive.tar.gz",
        # Bitbucket
        "owner/shop/get/main.tar.gz",
        "owner/shop/get/v1.2.0.zip",
        "rest/api/latest/projects/KEY/repos/shop/archive?at=main&format=tgz",
        # sourcehut, cgit
        "~owner/shop/archive/v1.tar.gz",
        "cgit/shop.git/snapshot/shop-main.tar.gz",
        # all else: the file
        "shop.tar.gz",
        "files/shop.zip",
        "archive/shop.tgz",
        "files/archive/shop.tgz",
        "shop/",
        "owner/repository/releases/download/v1/shop.tar.xz",
        "archive.tar.gz/shop",
    ],
)
def test_an_app_of_a_repository_is_called_as_that_is(path: str) -> None:
    for begin in ("https://host/", "http://user:secret@127.0.0.1:1//"):
        assert app_name(begin + path) == "shop"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://host/owner/My_shop.js/archive/refs/heads/main.zip", "My_shop.js"),
        ("https://host/My%20shop%21.zip", "My-shop"),
        ("https://host/%C3%A9t%C3%A9.zip?name=x.zip#y", "t"),
        ("https://host/" + "a" * 99, "a" * 64),
        ("https://host/api/v4/projects/42/repository/archive.zip", "42"),
        ("https://host/owner/archive/archive/refs/heads/main.zip", "archive"),
    ],
)
def test_a_name_has_only_what_the_agent_takes(source: str, name: str) -> None:
    assert app_name(source) == name


def test_files_are_called_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = tmp_path / "owner/shop"
    app.mkdir(parents=True)
    monkeypatch.chdir(app)
    assert app_name(".") == "shop"
    assert app_name("../shop.tar.gz") == "shop"
    assert app_name("archive/refs/heads/main.tar.gz") == "main"


@pytest.mark.parametrize("source", ["https://host", "https://host/", "https://host/%20", "/"])
def test_who_has_no_name_is_told_how_to_give_one(source: str) -> None:
    with pytest.raises(CommandError, match="no name for") as caught:
        app_name(source)
    assert caught.value.hint == "--app gives one"
