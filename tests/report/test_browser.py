"""The report in a real browser: nothing is wider than the page, nothing is refused by its own
policy, and a point tells what it is."""

import shutil

import pytest
from planted_run import CONFIG, catalog, epoch, fill, predict, step

from qsit_ray import artifacts
from qsit_ray.artifacts import RunFolder
from qsit_ray.evaluation.studies.page_pictures import browsing
from qsit_ray.report import page, runs_page

pytest.importorskip("playwright", reason="playwright is not installed")
if shutil.which("chromium") is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

# Elements beyond the right edge, but for what scrolls by itself; and words of drawings beyond any.
BEYOND = """() => {
  const width = document.documentElement.clientWidth;
  const found = [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return !each.closest(".scroll") && box.width > 0 && box.right > width + 1;
  });
  const words = [...document.querySelectorAll("svg text")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.left < -1 || box.right > width + 1;
  });
  return [...found, ...words].map((each) => `${each.tagName} ${each.textContent.slice(0, 40)}`);
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    run = RunFolder(folder / "run")
    fill(run)
    catalog(run)
    predict(run)
    artifacts.write_jsonl(run.steps, [step(n // 5, n % 5, 4.0 / (n + 1)) for n in range(10)])
    begun = RunFolder(folder / "begun")
    artifacts.write_jsonl(begun.epochs, [epoch(0, (600, 0, 0), 0.2, "hold")])
    return [
        page.build(run, CONFIG),
        page.build(begun, CONFIG),
        runs_page.build([(run, CONFIG), (begun, CONFIG)], folder / "runs.html"),
    ]


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_nothing_is_wider_than_the_page(pages, browser, width, scheme):
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request", lambda request: said.extend([request.url] * request.url.startswith("http"))
    )
    for path in pages:
        opened.goto(path.as_uri())
        assert opened.evaluate(BEYOND) == [], path.name
    opened.close()
    assert said == []


def test_the_point_near_the_pointer_tells_what_it_is(pages, browser):
    opened = browser.new_page(viewport={"width": 1000, "height": 900})
    opened.goto(pages[0].as_uri())
    point = opened.locator("figure .tip").nth(8)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    opened.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    told = opened.locator("#told")
    assert told.is_visible() and "D2 : D3 = " in told.inner_text()
    opened.mouse.move(2, 2)
    assert not told.is_visible()
    opened.close()


def test_without_script_the_words_are_titles(pages, browser):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(pages[0].as_uri())
    assert "seed 0" in opened.content() and "<title>D2 : D3 = 0.1" in opened.content()
    context.close()
