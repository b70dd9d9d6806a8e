"""The service's page in a real browser, in front of a model of planted values."""

import asyncio
import io
import re
import shutil
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from PIL import Image

from qsit_ray.evaluation.studies.page_pictures import browsing, serving
from qsit_ray.prompts import DESCRIBE, PROFILES
from qsit_ray.rating.results import Choice, Reject, Reply, Score
from qsit_ray.service.app import build
from qsit_ray.service.guard import digest
from qsit_ray.service.limits import Away, Busy, Limits

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import expect

if shutil.which("chromium") is None:
    pytest.skip("chromium is not installed", allow_module_level=True)

LEVELS = ("bad", "poor", "fair", "good", "excellent")
SHARES = (0.05, 0.1, 0.15, 0.5, 0.2)
SCORES = {"good.png": 3.7, "poor.png": 2.25}
HOSTILE = "<img src=x onerror=alert(1)>"


class Planted:
    """Scores by file name, answers that repeat the question. `raising`: what it raises once.
    While `goes_on` is clear, answers wait."""

    def __init__(
        self, profile="paper", answer="Answer to: {}", name="planted-model", is_whole=True
    ):
        self.profile, self.answer, self.name = PROFILES[profile], answer, name
        self.is_whole = is_whole
        self.raising = None
        self.asked = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    async def conditions(self):
        return {
            "model": self.name,
            "profile": self.profile.name,
            "score_range": list(self.profile.score_range),
            "precision": "bfloat16",
        }

    async def scores(self, images):
        await self._ready()
        return [self._score(image.name) for image in images]

    def _score(self, name):
        if name.endswith(".txt"):
            return Reject(name, f"{name}: no image of a known format")
        shares = dict(zip(self.profile.words, SHARES, strict=True))
        score = SCORES.get(name, 3.7) if self.profile.name == "paper" else 0.6751
        return Score(name, score, shares, std=1.0712, entropy=1.0, rank_key=0.0)

    async def answers(self, image, questions, choices, most_tokens):
        self.asked.append((image.name, *questions, choices))
        await self._ready()
        if choices:
            shares = dict(zip(choices, (0.125, 0.75, 0.125), strict=False))
            return [Choice(image.name, each, choices[1], shares) for each in questions]
        texts = [self.answer.format(each) for each in questions]
        return [
            Reply(image.name, each, text, self.is_whole)
            for each, text in zip(questions, texts, strict=True)
        ]

    async def _ready(self):
        raising, self.raising = self.raising, None
        if raising:
            raise raising
        assert await asyncio.to_thread(self.goes_on.wait, 20)


def png(name="good.png", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


NOTES = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


class Visit:
    """A page, and what it logged and requested."""

    def __init__(self, browser, address, **context):
        self.page = browser.new_page(**context)
        self.address, self.errors, self.requests = address, [], []
        self.page.set_default_timeout(10_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._logged)
        self.page.on("request", self._requested)
        self.page.goto(address)

    def _logged(self, message):
        # A refusal is a line of the console too; what the page makes of it is tested.
        if message.type in ("error", "warning") and "Failed to load" not in message.text:
            self.errors.append(message.text)

    def _requested(self, request):
        self.requests.append(request)

    def close(self):
        self.page.close()
        assert not self.errors
        own = (self.address, f"blob:{self.address}", "data:")
        assert not [each.url for each in self.requests if not each.url.startswith(own)]

    def slot(self, number=0):
        return self.page.get_by_role("region", name=("First image", "Second image")[number])

    def put(self, *files, slot=0):
        self.slot(slot).locator("input").set_input_files(list(files))

    def ask(self, question, choices=""):
        self.page.get_by_label("Your question").fill(question)
        self.page.get_by_label("Choices").fill(choices)
        self.page.get_by_role("button", name="Ask", exact=True).click()

    @property
    def answers(self):
        return self.page.get_by_role("list", name="Answers").locator("> li")


@pytest.fixture(scope="module")
def service():
    """A server whose application each test sets: to start one for each takes longer."""

    async def application(scope, receive, send):
        await service.app(scope, receive, send)

    with serving(application) as address:
        service = SimpleNamespace(app=None, address=address)
        yield service


@pytest.fixture
def visit(browser, service):
    with ExitStack() as stack:

        def open_page(model=None, token=None, limits=None, **context):
            secret = None if token is None else digest(token)
            service.app = build(model or Planted(), limits or Limits(), secret, lambda *_: None)
            found = Visit(browser, service.address, **context)
            stack.callback(found.close)
            return found

        yield open_page


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


# Without a mouse, for every eye


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
