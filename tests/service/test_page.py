"""The service's page in a real browser, in front of a model of planted values."""

import re

import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from planted_service import LEVELS, NOTES, SHARES, Planted, Visit, png
from playwright.sync_api import expect

from qsit_ray.evaluation.studies.page_pictures import serving
from qsit_ray.prompts import DESCRIBE
from qsit_ray.service.app import build
from qsit_ray.service.limits import Away, Busy, Limits

HOSTILE = "<img src=x onerror=alert(1)>"


def bars(place):
    """The words, the percentages and the widths of bars."""
    return place.locator(".bars > div").evaluate_all(
        "rows => rows.map(row => [row.querySelector('dt').textContent,"
        " row.querySelector('.share').textContent, row.querySelector('i').style.width])"
    )


def test_a_chosen_image_has_its_score_level_and_bars(visit):
    found = visit()
    expect(found.slot(1)).to_be_hidden()
    expect(found.page.get_by_label("Your question")).to_be_hidden()
    found.put(png())
    slot = found.slot()
    expect(slot.locator(".number")).to_have_text("3.70")
    expect(slot.locator(".level")).to_have_text("good")
    expect(slot).to_contain_text("Standard deviation of the level probabilities: 1.07 levels")
    expect(slot.get_by_role("status")).to_have_text("Scored 3.70 of 1 to 5.")
    expect(slot.locator(".name")).to_have_text("good.png")
    assert bars(slot) == [
        [word, f"{100 * share:.1f} %", f"{100 * share:g}%"]
        for word, share in zip(reversed(LEVELS), reversed(SHARES), strict=True)
    ]
    left = slot.locator(".scale i").evaluate("dot => dot.style.left")
    assert float(left.rstrip("%")) == pytest.approx(100 * (3.7 - 1) / 4)
    assert slot.get_by_role("img").evaluate("image => image.naturalWidth") == 40
    footer = found.page.locator("footer")
    expect(footer).to_contain_text("planted-model · profile paper · bfloat16")
    expect(footer.get_by_role("link")).to_have_attribute("href", "openapi.json")


def test_the_range_is_the_profiles(visit):
    found = visit(Planted(profile="official"))
    found.put(png())
    expect(found.slot().locator(".number")).to_have_text("0.675")
    expect(found.slot().locator(".ends")).to_have_text("01")
    expect(found.slot().locator(".level")).to_have_text("good")


def test_two_images_are_compared(visit):
    found = visit()
    found.put(png("good.png"), png("poor.png"))
    difference = found.page.get_by_role("region", name="Difference")
    expect(difference.locator(".number")).to_have_text("−1.45")
    expect(difference).to_contain_text("The second image scores 1.45 lower than the first")
    found.put(png("good.png"), slot=1)
    expect(difference).to_contain_text("Both images have the same score.")
    found.slot(0).get_by_role("button", name="Remove").click()
    expect(difference).to_be_hidden()
    expect(found.slot(1).locator(".number")).to_have_text("3.70")
    expect(found.slot(0).locator("input")).to_be_focused()
    found.put(png("poor.png"))
    expect(difference.locator(".number")).to_have_text("+1.45")


def test_of_more_images_the_first_two_are_compared_and_that_is_said(visit):
    found = visit()
    found.put(png("good.png"), png("poor.png"), png("third.png"))
    expect(found.slot(1).locator(".name")).to_have_text("poor.png")
    expect(found.page.get_by_text("3 images came; the first two are compared.")).to_be_visible()


def test_answers_follow_their_questions(visit):
    model = Planted()
    found = visit(model)
    found.put(png())
    found.ask("Is it sharp?")
    expect(found.answers.nth(0)).to_contain_text("Is it sharp?")
    expect(found.answers.nth(0)).to_contain_text("Answer to: Is it sharp?")
    expect(found.page.get_by_label("Your question")).to_have_value("")
    found.page.get_by_role("button", name="Describe").click()
    expect(found.answers).to_have_count(2)
    (_, asked, _) = model.asked[1]
    expect(found.answers.nth(1)).to_contain_text(f"Answer to: {asked}")
    assert asked == DESCRIBE  # the same words as `qsit describe`


def test_an_answer_that_was_cut_says_so(visit):
    found = visit(Planted(answer="It is", is_whole=False))
    found.put(png())
    found.ask("Is it sharp?")
    text = "It is … (the answer was too long and ends here)"
    expect(found.answers.nth(0)).to_contain_text(text)


def test_choices_have_probabilities_in_the_order_given(visit):
    model = Planted()
    found = visit(model)
    found.put(png())
    found.ask("How many?", "10, 2\n 10\n\n1")
    expect(found.answers.locator(".text")).to_have_text("2")
    assert bars(found.answers) == [
        ["10", "12.5 %", "12.5%"],
        ["2", "75.0 %", "75%"],
        ["1", "12.5 %", "12.5%"],
    ]
    assert model.asked == [("good.png", "How many?", ["10", "2", "1"])]


def test_a_question_goes_to_both_images(visit):
    found = visit(Planted())
    found.put(png("good.png"), png("poor.png"))
    found.ask("Is it sharp?")
    expect(found.answers.locator(".who")).to_have_text(
        ["First image · good.png", "Second image · poor.png"]
    )


def test_while_it_waits_that_is_said_and_the_focus_stays(visit):
    model = Planted()
    found = visit(model)
    found.put(png())
    expect(found.slot().locator(".number")).to_be_visible()
    model.goes_on.clear()
    button = found.page.get_by_role("button", name="Ask", exact=True)
    found.ask("Is it sharp?")
    expect(found.page.get_by_text("Answering …")).to_be_visible()
    expect(button).to_be_focused()
    for control in (button, found.page.get_by_role("button", name="Describe")):
        expect(control).to_be_disabled()
    expect(found.page.get_by_label("Your question")).not_to_be_editable()
    found.page.keyboard.press("Enter")  # a second time: nothing is sent
    model.goes_on.set()
    expect(found.answers).to_have_count(1)
    expect(found.page.get_by_text("Answering …")).to_have_count(0)
    expect(button).to_be_enabled()
    expect(button).to_be_focused()
    assert len(model.asked) == 1


def test_the_last_of_two_images_in_one_place_wins(visit):
    model = Planted()
    found = visit(model)
    model.goes_on.clear()
    found.put(png("good.png"))
    expect(found.slot().get_by_text("Scoring …")).to_be_visible()
    found.put(png("poor.png"))
    model.goes_on.set()
    expect(found.slot().locator(".number")).to_have_text("2.25")
    expect(found.slot().locator(".name")).to_have_text("poor.png")


TOO_MANY = "Too large: wide.png: 400 × 300 pixels; at most 100,000 are read."
REFUSALS = {
    "unreadable": (NOTES, None, "notes.txt: no image of a known format."),
    "bytes": (
        {**NOTES, "name": "big.png", "buffer": bytes(150_000)},
        None,
        "Too large: a request of more than 100,000 bytes.",
    ),
    "pixels": (png("wide.png", (400, 300)), None, TOO_MANY),
    "busy": (png(), Busy(), "The service is busy. Try again in a moment."),
    "away": (png(), Away(), "No model is ready. Try again in a moment."),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_why_an_image_has_no_score_is_said_at_its_place(visit, case):
    file, raising, sentence = REFUSALS[case]
    model = Planted()
    found = visit(model, limits=Limits(body_bytes=100_000, pixels=100_000))
    model.raising = raising
    found.put(png("poor.png"), slot=0)
    if raising is None:
        expect(found.slot().locator(".number")).to_have_text("2.25")
        found.put(file, slot=1)
    place = found.slot(0 if raising else 1)
    expect(place.get_by_role("alert")).to_have_text(sentence)
    expect(place.get_by_role("alert")).to_be_visible()
    again = place.get_by_role("button", name="Try again")
    if raising is None:
        expect(again).to_be_hidden()  # it would fail again
        expect(found.slot(0).locator(".number")).to_have_text("2.25")
    else:
        again.click()
        expect(place.locator(".number")).to_be_visible()
        expect(place.get_by_role("alert")).to_be_empty()


def test_a_file_far_over_the_limit_is_told_as_too_large(visit, tmp_path):
    """It answers before it has all; a browser may see the answer or a closed connection."""
    file = tmp_path / "huge.png"
    file.write_bytes(bytes(16_000_000))
    found = visit(limits=Limits(body_bytes=100_000))
    found.slot().locator("input").set_input_files(file)
    expect(found.slot().get_by_role("alert")).to_have_text(
        re.compile("^Too large: |larger than the service takes")
    )
    # It would fail again.
    expect(found.slot().get_by_role("button", name="Try again")).to_be_hidden()


def test_mistakes_in_a_question_are_said_beside_it(visit):
    model = Planted()
    found = visit(model)
    found.put(png("good.png"), png("poor.png"))
    alert = found.page.locator("#asking").get_by_role("alert")
    found.ask("  ")
    expect(alert).to_have_text("A question is needed.")
    expect(found.page.get_by_label("Your question")).to_be_focused()
    found.ask("Which?", "blur, blur")
    expect(alert).to_have_text("Two or more different choices are needed, or none.")
    expect(found.page.get_by_label("Choices")).to_be_focused()
    found.ask("Which?", ",".join(map(str, range(30))))
    expect(alert).to_have_text(re.compile("^First image: choices: .*26"))
    expect(found.page.get_by_label("Your question")).to_have_value("Which?")
    assert not model.asked


def test_where_one_of_two_images_has_no_answer_the_other_has(visit):
    model = Planted()
    found = visit(model)
    found.put(png("good.png"), png("poor.png"))
    expect(found.page.get_by_role("region", name="Difference")).to_be_visible()
    model.raising = Busy()
    found.ask("Is it sharp?")
    expect(found.page.locator("#asking").get_by_role("alert")).to_have_text(
        re.compile("^(First|Second) image: The service is busy")
    )
    expect(found.answers.locator(".who")).to_have_count(1)


def test_a_token_is_asked_for_and_kept_in_memory(visit):
    found = visit(token="secret-word")
    page = found.page
    field = page.get_by_label("Token")
    why = page.locator("#sign-in").get_by_role("alert")
    expect(why).to_have_text("The service asks for a token.")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    found.put(png())
    expect(found.slot().get_by_role("alert")).to_have_text("The service asks for a token.")
    for wrong, said in (
        ("wrong", "The service does not accept this token."),
        ("wörd", "A token has no spaces, and only characters of ASCII."),
    ):
        field.fill(wrong)
        field.press("Enter")
        expect(why).to_have_text(said)
        expect(field).to_be_visible()
    field.fill("secret-word")
    field.press("Enter")
    expect(found.slot().locator(".number")).to_have_text("3.70")  # what was refused is done
    expect(field).to_be_hidden()
    expect(page.locator("footer")).to_contain_text("planted-model")
    found.ask("Is it sharp?")
    expect(found.answers).to_have_count(1)
    sent = [each for each in found.requests if each.url.endswith("v1/ask")]
    assert sent[0].headers["authorization"] == "Bearer secret-word"
    kept = (
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert "secret" not in page.evaluate(kept) + page.content()


def test_a_service_that_is_gone_is_told(browser):
    with serving(build(Planted(), Limits(), None, lambda *_: None)) as address:
        found = Visit(browser, address)
        found.put(png("good.png"))
        expect(found.slot().locator(".number")).to_be_visible()
    found.put(png("poor.png"), slot=1)
    place = found.slot(1)
    expect(place.get_by_role("alert")).to_have_text("The service is not reachable.")
    expect(place.get_by_role("button", name="Try again")).to_be_visible()
    found.ask("Is it sharp?")
    expect(found.page.locator("#asking").get_by_role("alert")).to_have_text(
        "First image: The service is not reachable."
    )
    found.close()


DROP = """([name, x, y, type]) => {
  const target = document.elementFromPoint(x, y);
  const dataTransfer = new DataTransfer();
  for (const each of name) dataTransfer.items.add(new File(["x"], each, {type: "image/png"}));
  const options = {bubbles: true, cancelable: true, dataTransfer};
  return !target.dispatchEvent(new DragEvent(type, options));
}"""


def drop(found, slot, *names, kind="drop"):
    box = found.slot(slot).locator(".drop").bounding_box()
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    return found.page.evaluate(DROP, [list(names), *middle, kind])


def test_images_are_dropped(visit):
    found = visit()
    assert drop(found, 0, "poor.png", kind="dragover")  # else the browser would open the file
    expect(found.slot(0)).to_have_class(re.compile(r"\bover\b"))
    assert drop(found, 0, "poor.png")
    expect(found.slot(0)).not_to_have_class(re.compile(r"\bover\b"))
    expect(found.slot(0).locator(".number")).to_have_text("2.25")
    drop(found, 1, "good.png")  # beside it: compared
    expect(found.page.get_by_role("region", name="Difference")).to_contain_text("+1.45")
    drop(found, 0, "good.png")  # on it: in its place
    expect(found.page.get_by_role("region", name="Difference")).to_contain_text("same score")
    drop(found, 1, "good.png", "poor.png", "third.png")
    expect(found.page.get_by_role("region", name="Difference")).to_contain_text("−1.45")
    # These files are no pictures: the browser can't show them, whatever a service makes of them.
    expect(found.slot(0).get_by_text("shows no preview")).to_be_visible()


def test_images_are_pasted_and_text_is_left_alone(visit):
    found = visit()
    paste = """(names) => {
      const clipboardData = new DataTransfer();
      for (const each of names) clipboardData.items.add(new File(["x"], each, {type: "image/png"}));
      const options = {bubbles: true, cancelable: true, clipboardData};
      return !document.body.dispatchEvent(new ClipboardEvent("paste", options));
    }"""
    assert not found.page.evaluate(paste, [])
    assert found.page.evaluate(paste, ["good.png"])
    expect(found.slot(0).locator(".number")).to_have_text("3.70")
    found.page.evaluate(paste, ["poor.png"])
    expect(found.slot(1).locator(".number")).to_have_text("2.25")


def test_what_looks_like_html_is_text(visit):
    model = Planted(answer=HOSTILE + " {}", name=HOSTILE)
    found = visit(model)
    found.put(png(f"{HOSTILE}.png"), {**NOTES, "name": f"{HOSTILE}.txt"})
    expect(found.slot(0).locator(".name")).to_have_text(f"{HOSTILE}.png")
    expect(found.slot(1).get_by_role("alert")).to_have_text(
        f"{HOSTILE}.txt: no image of a known format."
    )
    found.ask(HOSTILE, f"{HOSTILE}, <b>bold</b>, <i>none")
    expect(found.answers.nth(0).locator("dt").nth(0)).to_have_text(HOSTILE)
    found.ask(HOSTILE)
    expect(found.answers.nth(1).locator(".text").nth(0)).to_have_text(f"{HOSTILE} {HOSTILE}")
    expect(found.page.locator("footer")).to_contain_text(HOSTILE)
    assert found.page.locator("body img").count() == 2  # the previews
    assert found.page.locator("[onerror], body b:not(.number)").count() == 0
