"""Chromium, as Debian has it, and the pages that the tests look at."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from support.reports import full_content, hostile_content, wide_page

from pit_join.report.page import make_page


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium in this process; without one the tests are skipped, and fail where CI is set."""
    chromium = shutil.which("chromium")
    if chromium is None:
        _missing("there is no Chromium here; install it with apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed; make test-browser does it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Seen:
    """A tab, with all that it asked for and complained of."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def go(self, url: str) -> None:
        """Open a page anew: of another place on the same page a browser only notes the address."""
        self.page.goto("about:blank")
        self.page.goto(url)

    def place(self, hash_: str) -> None:
        """Go to another place on the page."""
        self.page.evaluate("hash => { location.hash = hash; }", hash_)
        self.page.wait_for_function("() => new Promise(done => requestAnimationFrame(() => done(true)))")


Opened = Callable[..., Seen]


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open a page in a tab of its own; in the end nothing was asked for but the page, and no error was logged."""
    seen: list[Seen] = []

    def open_page(url: str, **options: Any) -> Seen:
        tab = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}).new_page()
        found = Seen(tab)
        seen.append(found)
        tab.on("request", lambda request: found.requests.append(request.url))
        tab.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: found.errors.append(str(error)))
        tab.on("dialog", lambda dialog: found.errors.append(f"a dialog: {dialog.message}"))
        tab.goto(url)
        return found

    yield open_page
    for each in seen:
        own = each.page.url.partition("#")[0]
        assert [url for url in each.requests if url.partition("#")[0] != own and url != "about:blank"] == []
        assert each.errors == []
        each.page.context.close()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page of 30 views with all sections."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "page.html").write_bytes(make_page(full_content(folder, views=30)))
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same with a hostile text after each text of the project."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "page.html").write_bytes(make_page(hostile_content(full_content(folder, views=12))))
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a page of 500 views with 10 features each."""
    return wide_page(tmp_path_factory.mktemp("wide") / "page.html").as_uri()
