"""The page in a real browser: Debian's Chromium, headless, without a network."""

from __future__ import annotations

import math
import shutil

import pytest

from sft_tradeoff.analysis.recommendation import recommend
from sft_tradeoff.report.page.build import render
from tests.recommended_runs import CODE_ONLY, GAIN, study
from tests.unit.report.page.pages import ANSWER, DOMAIN, KNOWN, page_of, random_runs

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
RANDOM = {f"random-{seed}": random_runs(seed, rates=3) for seed in range(3)}
RANDOM["no-sft"] = random_runs(9, rates=3, without_sft=True)
RANDOM["known"] = KNOWN
BITS = [0.0, 0.002, 0.0069, 0.007, 0.01, 0.02, 0.04, 0.08, 0.2, 1.0]
BOTH = [(0.01, 0.0), (0.01, 0.08), (0.05, 0.03), (0.2, 0.1), (1.0, 0.05)]
GRID = [
    *({"bits_per_byte": x} for x in BITS),
    *({"bits_per_byte": x, "accuracy": y} for x, y in BOTH),
    {"accuracy": 0.05},
    {},
]
N_RUNS = 200
FAST_MS = 200


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The pages: one study with hostile texts, several random ones, and one of 200 runs."""
    folder = tmp_path_factory.mktemp("pages")
    pages = {
        "hostile": [page_of("hostile", KNOWN, domain=DOMAIN)],
        "random": [page_of(name, runs) for name, runs in RANDOM.items()],
        "large": [page_of("large", random_runs(1, methods=10, rates=N_RUNS // 10), rules=False)],
    }
    for name, studies in pages.items():
        (folder / f"{name}.html").write_text(render(studies), encoding="utf-8")
    return folder


@pytest.fixture
def open_page(browser, files):
    """Open a page; it may say nothing on the console and ask for nothing but its own file."""
    contexts, said, asked = [], [], []

    def start(name, address="", **settings):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | settings))
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"file://{files}/{name}.html{address}")
        page.wait_for_function("explorer.view && document.querySelector('#chart svg')")
        return page

    yield start
    assert said == []
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    for context in contexts:
        context.close()


def in_python(runs, tolerance):
    """What the page should say: per method the largest and the best rate, and the chosen run."""
    (section,) = recommend(*study(runs), tolerance, GAIN).sections
    chosen = section.chosen and [section.chosen.label, section.chosen.learning_rate]
    rates = [[m.label, m.largest, m.best and m.best.learning_rate] for m in section.methods]
    return [rates, chosen]


IN_BROWSER = """([i, grid]) => grid.map((tolerance) => {
  const section = explorer.data.studies[i].sections[0];
  const {methods, chosen} = rule.recommend(section, tolerance);
  const rate = (m, c) => (c === null ? null : section.methods[m].candidates[c].rate);
  return [methods.map((m, k) => [m.label, m.largest, rate(k, m.best)]),
    chosen && [methods[chosen.method].label, rate(chosen.method, chosen.candidate)]];
})"""


def test_the_rule_in_the_browser_is_that_of_python(open_page):
    page = open_page("random")
    different = set()
    for i, (name, runs) in enumerate(RANDOM.items()):
        expected = [in_python(runs, tolerance) for tolerance in GRID]
        assert page.evaluate(IN_BROWSER, [i, GRID]) == expected, name
        different |= {str(chosen) for _, chosen in expected}
    assert len(different) > 5, "the grid tells tolerances apart"


def test_the_slider_moves_the_recommendation(open_page):
    page = open_page("hostile")
    seen = set()
    for position in range(0, 401, 40):
        page.locator("#slider-bits_per_byte").fill(str(position))
        allowed = float(page.locator("#exact-bits_per_byte").input_value())
        assert math.isclose(allowed, 10 ** (position / 100 - 4), rel_tol=0.06)
        _, chosen = in_python(KNOWN, {"bits_per_byte": allowed})
        said = page.locator("#answer").inner_text()
        seen.add(str(chosen))
        if chosen is None:
            assert "No run is certain" in said
        else:
            assert f"Train with {chosen[0]} at learning rate " in said
            assert float(said.split("learning rate ")[1].split(". ")[0]) == chosen[1]
        drawn = page.evaluate("explorer.view.data('named').map((row) => row.text)")
        assert ("recommended" in drawn) == (chosen is not None)
    assert len(seen) >= 4


PLACE = """() => {
  document.getElementById("chart").scrollIntoView();
  const row = explorer.shown.find((r) => r.label === "talr");
  const box = document.querySelector("#chart svg").getBoundingClientRect();
  const view = explorer.view, [left, top] = view.origin(), padding = view.padding();
  const x = left + padding.left + view.scale("x")(row.x);
  const y = top + padding.top + view.scale("y")(row.y);
  return [box.left + x, box.top + y];
}"""


def test_a_click_shows_the_items_with_both_answers_as_text(open_page):
    page = open_page("hostile")
    assert (
        DOMAIN in page.inner_text("body")
        and ANSWER in page.locator("[data-part=methods]").inner_text()
    )
    point = page.evaluate(PLACE)
    page.mouse.move(*point)
    page.wait_for_selector("#tip:not([hidden])")
    assert "talr at" in page.inner_text("#tip") and "[" in page.inner_text("#tip"), "its intervals"
    page.mouse.click(*point)
    details = page.locator("#details")
    details.locator("summary").first.wait_for()
    assert "1 gained" in details.inner_text() and "1 lost" in details.inner_text()
    texts = details.locator("pre").all_text_contents()
    assert ANSWER in texts and "<i>4</i>" in texts, "θ0's answer and the run's"
    assert page.evaluate("window.broken") is None
    assert page.locator("main b, main i").count() == 0


def test_the_address_restores_the_view(open_page):
    page = open_page("hostile")
    page.select_option("#axis-x", "rate")
    page.select_option("#axis-y", "nll")
    page.locator("#exact-bits_per_byte").fill("0.02")
    page.locator("#exact-bits_per_byte").press("Enter")
    page.locator("[data-method=sft] input").uncheck()
    page.locator("#chart").focus()
    page.keyboard.press("ArrowRight")
    address = page.evaluate("location.hash")
    state = page.evaluate("explorer.state")
    assert (
        state["methods"] == ["talr"] and state["run"] and state["allowed"]["bits_per_byte"] == 0.02
    )
    assert page.locator("#said").inner_text().startswith("talr at")
    other = open_page("hostile", address)
    assert other.evaluate("explorer.state") == state
    assert other.locator("#details h3").inner_text() == page.locator("#details h3").inner_text()
    wrong = open_page("hostile", "#x=nonesuch&bits_per_byte=lots&methods=nobody&run=none")
    assert wrong.evaluate("explorer.state") == open_page("hostile").evaluate("explorer.state")


def test_frontiers_are_of_runs_that_no_other_beats(open_page):
    page = open_page("large")
    found = page.evaluate("""() => {
      const rows = explorer.shown.filter((r) => r.label === "sft");
      const front = explorer.chart.frontier(rows, -1, 1);
      return [rows.map((r) => [r.x, r.y]), front.map((r) => [r.x, r.y])];
    }""")
    rows, front = found
    best = [p for p in rows if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in rows)]
    assert sorted(map(tuple, best)) == sorted({*map(tuple, front)}) and 0 < len(front) < len(rows)


def test_two_hundred_runs_answer_within_a_fifth_of_a_second(open_page):
    page = open_page("large")
    assert len(page.evaluate("explorer.shown")) == N_RUNS + 1
    times = page.evaluate("""async () => {
      const slider = document.getElementById("slider-bits_per_byte"), found = [];
      for (const position of [120, 180, 240, 300, 360]) {
        const start = performance.now();
        slider.value = String(position);
        slider.dispatchEvent(new Event("input"));
        await new Promise(requestAnimationFrame);
        found.push(performance.now() - start);
      }
      return found;
    }""")
    assert min(times) < FAST_MS, times  # others may keep the processor busy


@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_no_serious_fault(open_page, look):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
    page = open_page("hostile", color_scheme=look)
    page.locator("#chart").focus()
    page.keyboard.press("ArrowRight")
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    serious = {
        f"{fault['id']}: {fault['nodes'][0]['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    }
    assert serious == set()


def test_a_phone_scrolls_in_one_direction_only(open_page):
    page = open_page("hostile", viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_tolerance_of_the_study_is_the_first(open_page):
    page = open_page("random", "#study=known")
    assert page.evaluate("explorer.state.allowed") == CODE_ONLY
    assert page.locator("h1:visible").all_inner_texts() == ["known"]
    page.select_option("#study", "no-sft")
    page.wait_for_function("explorer.state.study === 'no-sft'")
    assert page.locator("h1:visible").all_inner_texts() == ["no-sft"]
