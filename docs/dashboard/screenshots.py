"""Serves requests on this CPU, shows the dashboard of them in Chromium, and photographs it for docs/dashboard.md.

    python docs/dashboard/screenshots.py [FOLDER]

The requests are real ones of fifteen seconds; so that the pages show a working half hour, the times in the log are
stretched to thirty minutes that end now. Measurements are those of docs/benchmarks. FOLDER takes the pictures
(default: the folder of this file).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SECONDS = 15.0
SPAN = timedelta(minutes=29)
POLICY = """\
policy "prod" version {version}

field tenant: string

lock torch.sdpa_math for attention when kv_len < {limit} as short_caches
  because "the fused kernel costs more than it saves on short caches" owner "kernels" else choose
deny torch.sdpa_* for attention when has(tenant) and tenant == "bank" and kv_len > 512 as bank_is_exact
  because "bit-exact replies are promised to this tenant"

experiment fused_silu on request_id share 80% {{
  arm control 50%
  arm fused   50% {{ boost demo.fused_silu by 1000 for silu }}
  guard error_rate < 5%
  guard p95_latency < 3 * control
}}
"""
KERNELS = (
    'kernel demo.fused_gelu for gelu { "a kernel that breaks" priority 90 }',
    'kernel demo.fused_silu for silu { "silu, fused" priority 1 }',
)
TENANTS = ("acme", "bank", "globex")


def serve(folder: Path) -> None:
    """Calls for a while, under two versions of a policy; then its log lies in the folder."""
    import torch

    import layerzero as lz

    torch.manual_seed(0)
    torch.set_num_threads(1)
    os.chdir(folder)  # so that places in the pictures are short
    policy = Path("prod.lzp")
    policy.write_text(POLICY.format(version=7, limit=128), encoding="utf-8")
    failing = {"calls": 0}

    def fused_gelu(x: torch.Tensor, **options: Any) -> torch.Tensor:
        failing["calls"] += 1
        if failing["calls"] > 250:
            raise RuntimeError("illegal memory access")
        return torch.nn.functional.gelu(x)

    lz.register_kernel(fused_gelu, KERNELS[0])
    lz.register_kernel(lambda x: torch.nn.functional.silu(x), KERNELS[1])
    (folder / "own.lzp").write_text("\n".join(KERNELS), encoding="utf-8")
    lz.configure(policy)
    lz.configure_breakers(failures=3, cool_down=600)
    lz.share_experiments(folder / "experiments.json", every=0.5)
    log = lz.log_decisions(folder / "decisions.jsonl", mode="every")
    x, weight = torch.randn(4, 256), torch.ones(256)
    began, number, swapped = time.monotonic(), 0, False
    while (passed := time.monotonic() - began) < SECONDS:
        if passed > SECONDS * 0.6 and not swapped:
            swapped = True
            policy.write_text(POLICY.format(version=8, limit=384), encoding="utf-8")
            lz.configure(policy)
        kv = 32 + (number * 37) % 900
        q, k = torch.randn(1, 1, 4, 32), torch.randn(1, kv, 4, 32)
        tenant = TENANTS[number % 7 % 3]
        with lz.request(request_id=f"r-{number}"), lz.context(tenant=tenant, layer=number % 32):
            lz.rms_norm(x, weight)
            lz.attention(q, k, k)
            lz.silu(x)
            lz.gelu(x)
        number += 1
        time.sleep(0.004 + 0.004 * (1 + (number // 150) % 3))
    log.close()
    print("served", flush=True)
    sys.stdin.read()  # goes on to share its experiments until nobody looks any more
    os._exit(0)


def stretched(log: Path) -> None:
    """Its records over half an hour that ends now."""
    records = [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()]
    first = datetime.fromisoformat(records[0]["time"])
    longest = datetime.fromisoformat(records[-1]["time"]) - first
    start = datetime.now(UTC) - SPAN
    for record in records:
        at = start + SPAN * ((datetime.fromisoformat(record["time"]) - first) / longest)
        record["time"] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    log.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="ascii")


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """Its address."""
    measurements = HERE.parent / "benchmarks" / "h100-a.sqlite"
    command = [sys.executable, "-m", "layerzero", "dashboard", "decisions.jsonl", "--port", "0", "--catalog", "own.lzp"]
    command += ["--experiments", "experiments.json", "--measurements", str(measurements), "--policy", "prod.lzp"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+/", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def photograph(address: str, pictures: Path) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select, WebDriverWait

    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))

    def shot(name: str, page: str, wanted: str, wide: int = 1180, high: int = 820, dark: bool = False) -> None:
        scheme = "dark" if dark else "light"
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        if page:
            browser.get(f"{address}{page}")
        WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, wanted))
        time.sleep(0.6)
        browser.save_screenshot(str(pictures / f"{name}.png"))

    try:
        shot("now", "#/now", "#sources")
        browser.get(f"{address}#/decisions?operation=attention")
        WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "td a[id^=why-]"))
        browser.find_elements(By.CSS_SELECTOR, "td a[id^=why-]")[0].click()
        WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#against"))
        Select(browser.find_element(By.ID, "against")).select_by_value("torch.flex")
        browser.find_element(By.CSS_SELECTOR, "#why-not ~ form button").click()
        shot("decision", "", "#against-tree", high=980)
        browser.get(f"{address}#/policy")
        WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "[id^=swap-]"))
        browser.find_elements(By.CSS_SELECTOR, "[id^=swap-] summary")[0].click()
        shot("policy", "", ".swap h3", high=900)
        shot("experiments", "#/experiments", ".intervals")
        shot("measurements", "#/measurements?operation=attention.decode&x=kv_len", ".series", high=760)
        browser.get(f"{address}#/playground")
        text = WebDriverWait(browser, 60).until(lambda _: browser.find_element(By.ID, "policy"))
        text.send_keys("\ndeny flash_attn.v2 for attention when batch > 8 and batch < 4 as never")
        shot("playground", "", ".findings", high=900)
        shot("narrow", "#/now", "#sources", wide=390, high=844)
        shot("decisions-dark", "#/decisions", "#last", dark=True)
    finally:
        browser.quit()


def main() -> None:
    pictures = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--serve", name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            if server.stdout.readline().strip() != "served":
                raise SystemExit("the program that serves has failed")
            stretched(folder / "decisions.jsonl")
            with dashboard(folder) as address:
                photograph(address, pictures)
            server.communicate()


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(Path(sys.argv[2]))
    else:
        main()
