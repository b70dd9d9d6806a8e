"""The service's page without a mouse, in every light, on a phone."""

import re

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from planted_service import NOTES, Planted, png
from playwright.sync_api import expect

from qsit_ray.service.limits import Busy


def focused(page):
    """The name of the control with the focus, and whether a ring is drawn around it."""
    return page.evaluate(
        """() => {
          const control = document.activeElement;
          if (control === document.body) return ["the page", true];
          const ring = control.type === "file" ? control.parentElement : control;
          const {outlineStyle, outlineWidth} = getComputedStyle(ring);
          const isSeen = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
          const label = control.labels?.[0]?.innerText;
          return [label || control.innerText || control.tagName, isSeen];
        }"""
    )


def tab_to(page, name, most=20):
    """Press Tab until the control has the focus; each on the way has a ring."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found, is_ringed = focused(page)
        assert is_ringed, found
        if found.startswith(name):
            return
    raise AssertionError(f"Tab does not reach {name}")


def choose_by(page, key, file):
    with page.expect_file_chooser() as chosen:
        page.keyboard.press(key)
    chosen.value.set_files(file)


def test_everything_is_reached_and_works_by_keyboard(visit):
    found = visit()
    page = found.page
    page.on("filechooser", lambda _: None)  # from now on no window of the system opens
    tab_to(page, "Choose an image")
    choose_by(page, "Enter", [png("good.png")])
    expect(found.slot(0).locator(".number")).to_be_visible()
    tab_to(page, "Remove")
    tab_to(page, "Choose a second image")
    choose_by(page, "Space", [png("poor.png")])
    expect(page.get_by_role("region", name="Difference")).to_be_visible()
    tab_to(page, "Your question")
    page.keyboard.type("Is it sharp?")
    page.keyboard.press("Enter")
    expect(found.answers).to_have_count(1)
    tab_to(page, "Choices")
    page.keyboard.type("yes\nno")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("Is it noisy?")
    tab_to(page, "Ask")
    page.keyboard.press("Space")
    expect(found.answers.nth(1).locator("dt").nth(0)).to_have_text("yes")
    tab_to(page, "Describe")
    page.keyboard.press("Enter")
    expect(found.answers).to_have_count(3)
    tab_to(page, "openapi.json")
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "Remove")
    page.keyboard.press("Enter")
    expect(found.slot(0).locator(".number")).to_be_hidden()


def everything(visit, **context):
    """A page that shows all it has: images, an error, a comparison, answers, and the token."""
    model = Planted()
    found = visit(model, **context)
    found.put(png("good.png"), png("poor.png"))
    expect(found.page.get_by_role("region", name="Difference")).to_be_visible()
    found.ask("Is it sharp?", "yes, no")
    expect(found.answers).to_have_count(1)
    found.ask("Is it sharp?", "yes")
    found.page.locator("#sign-in, .again, .unseen").evaluate_all(
        "each => each.forEach(one => { one.hidden = false; })"
    )
    model.raising = Busy()
    found.put(NOTES, slot=1)
    expect(found.slot(1).locator(".error")).not_to_be_empty()
    return found


def test_every_control_has_a_name(visit):
    found = everything(visit)
    roles = r"button|textbox|link|checkbox|combobox|img|region|list"
    lines = found.page.locator("body").aria_snapshot().splitlines()
    named = [line for line in lines if re.match(rf"\s*- '?(?:{roles})\b", line)]
    nameless = [
        line for line in named if not re.match(rf"\s*- '?(?:{roles}) \"", line)
        and not line.strip().startswith("- list:")
    ]  # fmt: skip
    assert not nameless
    controls = "button, input, textarea, a[href]"
    count = found.page.locator(controls).evaluate_all(
        "all => all.filter(each => each.checkVisibility()).length"
    )
    assert count == len([each for each in named if re.search(r"- '?(button|textbox|link)", each)])
    assert count >= 12
    assert found.page.title() and found.page.locator("html").get_attribute("lang") == "en"


CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const under = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility()) continue;
    const pair = [light(numbers(getComputedStyle(element).color)), light(under(element))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    found.push([ratio, walk.currentNode.data.trim()]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_background(visit, scheme):
    found = everything(visit, color_scheme=scheme)
    backgrounds = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", backgrounds))) > 380) == (scheme == "light")
    texts = found.page.evaluate(CONTRAST)
    assert len(texts) > 40
    assert not [each for each in texts if each[0] < 4.5]
    found.page.locator("#ask :is(button, input)").evaluate_all(
        "all => all.forEach(each => each.setAttribute('aria-disabled', 'true'))"
    )
    assert not [each for each in found.page.evaluate(CONTRAST) if each[0] < 4.5]


def test_a_phone_shows_it_without_scrolling_sideways(visit):
    found = visit(
        Planted(answer="word" * 60 + " {}"), viewport={"width": 360, "height": 640}, has_touch=True
    )
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert found.page.evaluate(wide) == 0
    name = "a" * 150 + ".png"
    found.put(png(name), {**NOTES, "name": "b" * 150 + ".txt"})
    expect(found.slot(0).locator(".number")).to_be_visible()
    found.ask("question" * 20)
    expect(found.answers).to_have_count(1)
    found.ask("Which?", "choice" * 20 + ", no")
    expect(found.answers).to_have_count(2)
    found.page.locator("#sign-in").evaluate("form => { form.hidden = false; }")
    assert found.page.evaluate(wide) == 0
    right = "all => Math.max(...all.map(each => each.getBoundingClientRect().right))"
    assert found.page.locator("main *, form *").evaluate_all(right) <= 360


def test_nothing_moves_for_those_who_ask_for_that(visit):
    moving = "document.getAnimations().length"
    for wish, is_moving in (("reduce", False), ("no-preference", True)):
        model = Planted()
        found = visit(model, reduced_motion=wish)
        model.goes_on.clear()
        found.put(png())
        expect(found.slot().get_by_text("Scoring …")).to_be_visible()
        assert bool(found.page.evaluate(moving)) == is_moving
        model.goes_on.set()
        expect(found.slot().locator(".number")).to_be_visible()
