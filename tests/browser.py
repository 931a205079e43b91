"""A headless Chromium for tests of pages: what it finds, and everything that a page may not do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Path of the system's Chromium; None: there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def missing() -> str:
    """Why no page can be opened here; "" where one can."""
    if find_spec("playwright") is None:
        return "no playwright here; ci/setup installs it"
    return "" if chromium() else "no Chromium here; ci/browser installs it"


@dataclass(frozen=True)
class Opened:
    """A page that is open. faults: errors and warnings of the console, exceptions, dialogs. asked: what it fetched."""

    page: Any  # playwright's
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements that are shown, as a reader sees them."""
        return [found.inner_text() for found in self.page.locator(selector).all() if found.is_visible()]

    def wait(self, selector: str, *texts: str) -> None:
        """Until the elements that this finds are as many as these texts and read like them."""
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_have_text(list(texts))

    def settled(self) -> Opened:
        """This page, once it shows the items that were asked for."""
        self.page.wait_for_selector('#items[aria-busy="false"]')
        return self


@contextmanager
def browser() -> Iterator[Any]:
    """Playwright's browser over the system's Chromium."""
    from playwright.sync_api import sync_playwright

    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=as_root)
        yield running
        running.close()


def opened(running: Any, path: Path, fragment: str = "", watch: str = "", **settings: Any) -> Opened:
    """The file at this path in a page of its own. watch: a script that runs in it first. settings: of `new_page`."""
    here = Opened(running.new_page(**settings))
    here.page.on("console", lambda said: here.faults.append(said.text) if said.type in ("error", "warning") else None)
    here.page.on("pageerror", lambda error: here.faults.append(str(error)))
    here.page.on("request", lambda request: here.asked.append(request.url))
    here.page.on("dialog", lambda dialog: (here.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    if watch:
        here.page.add_init_script(watch)
    here.page.goto(path.as_uri() + fragment)
    return here
