"""Open reports in a headless Chromium and check what it shows; ``.ci/browser`` runs this.

    python tests/report_in_browser.py CHROMIUM [FOLDER]

Every page of ``report_pages.py`` is opened at two widths, light and dark. Pictures of them go into FOLDER.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report_pages import PAGES

import fastnn
from fastnn.report import write_report

WIDTHS, SCHEMES = (1280, 375), ("light", "dark")

# Runs in the page, and returns what is wrong with it.
CHECK = r"""
() => {
  const wrong = [];
  const root = document.documentElement;
  const wide = () => root.scrollWidth > window.innerWidth;
  if (wide()) wrong.push(`scrolls sideways: ${root.scrollWidth} > ${window.innerWidth}`);

  const parse = text => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (a, b) => { const o = a[3] ?? 1; return [0, 1, 2].map(i => o * a[i] + (1 - o) * b[i]); };
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if ((colour[3] ?? 1) > 0) layers.push(colour);
      if ((colour[3] ?? 1) === 1) break;
    }
    return layers.reverse().reduce((below, above) => over(above, below), [255, 255, 255]);
  };
  const page = light(ground(document.body));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  if (dark !== page < 0.2) wrong.push(`the page does not follow the scheme: ${page}`);

  document.querySelectorAll("details").forEach(e => e.open = true);
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    if (!own || e.closest("title") || style.display === "none" || !box.width) continue;
    const text = parse(e instanceof SVGElement ? style.fill : style.color), below = ground(e);
    const [a, b] = [light(over(text, below)), light(below)].sort((p, q) => q - p);
    if ((a + 0.05) / (b + 0.05) < 4.5) wrong.push(`contrast ${(a + 0.05) / (b + 0.05)}: ${e.textContent.slice(0, 40)}`);
    if (parseFloat(style.fontSize) < 10) wrong.push(`small text: ${e.textContent.slice(0, 40)}`);
    if (!e.closest(".scroll") && (box.left < -1 || box.right > window.innerWidth + 1))
      wrong.push(`outside the page: ${e.textContent.slice(0, 40)}`);
  }
  if (wide()) wrong.push("scrolls sideways with open details");
  document.querySelectorAll("details").forEach(e => e.open = false);

  for (const e of document.querySelectorAll("main > section, .card, .tiles div, h1, h2, svg.chart, img")) {
    const box = e.getBoundingClientRect();
    if (e.closest("details:not([open])")) continue;
    if (box.width < 4 || box.height < 4) wrong.push(`not visible: ${e.tagName} ${e.className?.baseVal ?? e.className}`);
  }
  for (const e of document.querySelectorAll(".card"))
    for (const inner of e.querySelectorAll(":scope > *, .tiles dd"))
      if (inner.getBoundingClientRect().right > e.getBoundingClientRect().right + 1) wrong.push("a card overflows");
  for (const e of document.querySelectorAll(".tiles div"))
    if (e.scrollWidth > e.clientWidth) wrong.push(`a figure is cut: ${e.textContent}`);
  for (const e of document.querySelectorAll("img"))
    if (!e.complete || !e.naturalWidth) wrong.push(`a picture is broken: ${e.alt}`);
  for (const chart of document.querySelectorAll("svg.chart")) {
    const view = chart.viewBox.baseVal;
    const shown = chart.getBoundingClientRect();
    const texts = [...chart.querySelectorAll("text")].map(e => [e, e.getBoundingClientRect()]);
    const scale = shown.width / view.width;
    for (const [e, box] of texts)
      if (box.left < shown.left - 1 || box.right > shown.right + 1 ||
          box.top < shown.top - 1 || box.bottom > shown.bottom + 1)
        wrong.push(`a text is outside its chart: ${e.textContent}`);
    texts.forEach(([e, a], i) => texts.slice(i + 1).forEach(([f, b]) => {
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > scale &&
          Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4 * scale)
        wrong.push(`texts overlap: ${e.textContent} and ${f.textContent}`);
    }));
  }
  if (document.scripts.length || document.querySelector("iframe, object, embed, form")) wrong.push("there is a script");
  return [...new Set(wrong)];
}
"""


def check(browser: Any, path: Path, width: int, scheme: Any, picture: Path | None) -> list[str]:
    """What is wrong with a page, or with what it asked for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    address = path.as_uri()
    page.on("request", lambda r: r.url == address or r.url.startswith("data:") or wrong.append(f"request: {r.url}"))
    page.goto(address)
    wrong += page.evaluate(CHECK)
    for chart in page.locator(".strips").all()[:1]:
        chart.locator("rect").first.hover(timeout=3000)
    if picture is not None:
        page.screenshot(path=picture, full_page=True)
    context.close()
    return wrong


def main(executable: str, folder: str | None = None) -> int:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    fastnn.manual_seed(0)
    # Here: doctests are collected from this file, too, where there is no Playwright.
    from playwright.sync_api import sync_playwright

    start, failures = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as pages, sync_playwright() as driver:
        # Without a sandbox of its own: root and containers have none, and the pages are ours.
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, arguments in PAGES.items():
            path = write_report(Path(pages).resolve() / f"{name.replace(' ', '-')}.html", **arguments())
            for width in WIDTHS:
                for scheme in SCHEMES:
                    picture = Path(folder) / f"{path.stem}-{width}-{scheme}.png" if folder is not None else None
                    wrong = check(browser, path, width, scheme, picture)
                    failures += bool(wrong)
                    for line in wrong:
                        print(f"{name}, {width} pixels, {scheme}: {line}")
        version = browser.version
        browser.close()
    count = len(PAGES) * len(WIDTHS) * len(SCHEMES)
    print(f"browser: {count - failures} of {count} pages are right in Chromium {version}, "
          f"{time.perf_counter() - start:.0f} s")  # fmt: skip
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
