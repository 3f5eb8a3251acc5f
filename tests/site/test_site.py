"""The site of the documents: built as `make docs` builds it, and read with a browser."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.site.browser import PROGRAM, Browser, browser
from tests.support.everyone import REPOSITORY
from tests.support.marks import needs_commands

pytestmark = [needs_commands(PROGRAM)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", place]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=REPOSITORY, env=quiet, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return place


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def reader(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_is_wrong(reader: Browser, address: str) -> Iterator[None]:
    """After each test the console is empty, and nothing was asked of another server."""
    yield
    assert reader.errors == []
    assert not [each for each in reader.requests if not each.startswith((address, "data:", "blob:", "about:"))]


def test_the_site_holds_pages_and_what_they_show(site: Path) -> None:
    kinds = {path.suffix for path in site.rglob("*") if path.is_file()}
    assert kinds <= {".html", ".css", ".js", ".map", ".json", ".svg", ".png", ".xml", ".gz"}


def test_the_front_page_names_the_tool_and_leads_to_the_guide(reader: Browser, address: str) -> None:
    reader.open(address)
    assert reader.value("document.querySelector('h1').innerText").startswith("hpcp-mpi")
    reader.value("[...document.querySelectorAll('article a')].find(a => a.innerText == 'guide').click()")
    reader.wait_for("location.pathname == '/guide.html' && document.readyState == 'complete'")
    assert reader.value("document.querySelectorAll('article pre code').length") > 3
    assert "hpcp-mpi" in reader.value("document.querySelector('article pre code').innerText")


def test_the_search_finds_an_option_and_leads_to_it(reader: Browser, address: str) -> None:
    reader.open(address)
    reader.value("document.querySelector('input[name=query]').focus()")
    reader.type("max-delete")
    found = reader.wait_for("[...document.querySelectorAll('.md-search-result__link')].map(a => a.href).join(' ')")
    assert f"{address}options.html" in found
    reader.value("document.querySelector('.md-search-result__link').click()")
    reader.wait_for("location.pathname != '/' && document.readyState == 'complete'")
    assert "--max-delete" in reader.value("document.querySelector('article').innerText")


def test_the_plot_of_the_benchmarks_is_shown(reader: Browser, address: str) -> None:
    reader.open(f"{address}performance.html")
    pictures = "[...document.querySelectorAll('article img')]"
    assert reader.value(f"{pictures}.length") > 0
    reader.wait_for(f"{pictures}.every(each => each.complete && each.naturalWidth > 0)")


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.links += [given[name] for name in ("href", "src") if name in given]
        self.anchors |= {given[name] for name in ("id", "name") if name in given}


def test_every_link_of_every_page_leads_to_a_file_and_a_heading_of_the_site_or_of_the_project(site: Path) -> None:
    pages = {page: Links(page) for page in site.rglob("*.html") if page.name != "404.html"}
    assert len(pages) > 15
    wrong = []
    for page, content in pages.items():
        for link in content.links:
            if not leads_somewhere(page, link, pages):
                wrong.append(f"{page.relative_to(site)}: {link}")
    assert wrong == []


def leads_somewhere(page: Path, link: str, pages: dict[Path, Links]) -> bool:
    if own := re.fullmatch(r"https://github\.com/hpcp-mpi/hpcp-mpi/(?:blob|tree)/main/([^#]+)(#.*)?", link):
        return (REPOSITORY / own[1]).exists()
    if re.match(r"https?:|mailto:|javascript:|data:", link):
        return True
    path, _, anchor = urllib.parse.unquote(link).partition("#")
    target = Path(os.path.normpath(page.parent / path)) if path else page
    target = target / "index.html" if target.is_dir() else target
    return target.exists() and (target not in pages or anchor in pages[target].anchors)
