"""A dashboard over the log of a real dispatcher, in a process of its own, and a real Chromium to look at it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerzero.experiments.report import ArmStatus, ExperimentsReport, ExperimentStatus, GuardState, Interval
from tests.unit.runtime.log_bench import Logged

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


class Page:
    """A tab; `find` waits until there is such an element."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address

    def open(self, where: str) -> None:
        self.browser.get("about:blank")  # an address that differs in its `#` alone would not load the page anew
        self.browser.get(f"{self.address}#/{where}")

    def until(self, true: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        ignored = [StaleElementReferenceException]
        return WebDriverWait(self.browser, 15, 0.05, ignored_exceptions=ignored).until(lambda _: true())

    def find(self, selector: str, words: str = "") -> Any:
        from selenium.webdriver.common.by import By

        def found() -> Any:
            elements = self.browser.find_elements(By.CSS_SELECTOR, selector)
            return next((one for one in elements if words in one.text), None)

        return self.until(found)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def press(self, *keys: str) -> Any:
        """Keys into whatever has the focus; the element that has it then."""
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()
        return self.browser.switch_to.active_element

    def media(self, wide: int = 1200, high: int = 800, scheme: str = "light") -> None:
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        size = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    if DRIVER is None or CHROMIUM is None:
        pytest.skip("needs chromium and chromium-driver (.ci/debian-packages)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    one = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield one
    one.quit()


@pytest.fixture(scope="package")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Logged, Path]]:
    """Calls of two versions of a policy, one of them with a name that would be a script."""
    folder = tmp_path_factory.mktemp("<script>alert(2)<script>")
    bench, path = Logged("deny fast.one for work when size > 5 as large"), folder / "log.jsonl"
    log = bench.log(path)
    bench.call(7)
    bench.configure("deny fast.one for work when size > 50 as large")
    bench.call(7, tenant=HOSTILE)
    log.flush()
    bench.opened = log  # type: ignore[attr-defined]
    yield bench, path
    log.close()


def experiments() -> str:
    """A report as a process shares it; its metric's name is the program's own, and may be anything."""
    arms = tuple(
        ArmStatus(
            name, 50.0, 400, 400, 2, Interval(0.005, 0.001, 0.018), 0, 0, {"p50": Interval(ms, ms - 0.2, None)},
            {}, 0, 0, 0, stopped, 0, (GuardState("error_rate < 1%", 0.005, 0.4, stopped is not None),),
        )
        for name, ms, stopped in (("control", 3.0, None), ("new", 5.0, f"error_rate < 1% {HOSTILE}"))
    )  # fmt: skip
    status = ExperimentStatus("trial", "tenant", 20.0, 1795608000.0, arms, 0.51, False)
    report = ExperimentsReport("small", 3, (status,), 0)
    return json.dumps({**report.to_dict(), "process": 4242, "every": 2.0})


@pytest.fixture(scope="package")
def address(bench: tuple[Logged, Path], root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    shared = tmp_path_factory.mktemp("shared") / "experiments.json"
    shared.write_text(experiments(), encoding="utf-8")
    command = [sys.executable, "-m", "layerzero", "dashboard", str(bench[1]), "--port", "0"]
    command += ["--experiments", str(shared), "--measurements", str(root / "docs/benchmarks/h100-a.sqlite")]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("run"))}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    found = re.match(r"dashboard at (http://127\.0\.0\.1:\d+/); Ctrl-C ends it", process.stdout.readline())
    assert found is not None
    yield found[1]
    process.terminate()
    assert process.wait(10) in (0, -15)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Page]:
    one = Page(browser, address)
    one.media()
    yield one
    # Whatever a test did, the browser has had nothing to complain about: no script was refused, no request failed.
    assert [entry["message"] for entry in browser.get_log("browser")] == []
