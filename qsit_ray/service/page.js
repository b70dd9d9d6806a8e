// The page of a service. What comes from outside (names, answers, errors) becomes text, never HTML.

const DESCRIBE = "Describe and evaluate the quality of the image.";
const PASSING = [0, 401, 408, 429, 503, 504]; // after these the same request may succeed
const PLACES = ["First image", "Second image"];
const CHOOSE = ["Choose an image", "Choose a second image"];

const at = (id) => document.getElementById(id);
const copyOf = (id) => at(id).content.firstElementChild.cloneNode(true);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const likeliestOf = (shares) => shares.reduce((best, each) => (each[1] > best[1] ? each : best));

let token = ""; // in memory alone
let focusBefore = null; // where the focus returns to after the token was given
let isAsking = false;
const unsigned = new Set(); // what is done again once there is a token

// The service

class Failed extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function call(path, body, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", body, headers, signal });
  } catch {
    const isCut = body && !signal?.aborted && (await isReachable());
    if (!isCut) throw new Failed(0, "The service is not reachable.");
    throw new Failed(413, "The image did not arrive: its file can't be read, or is larger "
      + "than the service takes.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Failed(response.status, sentenceOf(response.status, answer.error?.message));
}

async function isReachable() {
  return fetch("health").then((response) => response.ok, () => false);
}

function sentenceOf(status, message = `status ${status}`) {
  if (status === 401 && token) return "The service does not accept this token.";
  if (status === 401) return "The service asks for a token.";
  if (status === 429) return "The service is busy. Try again in a moment.";
  if (status === 503) return "No model is ready. Try again in a moment.";
  if (status === 413) return `Too large: ${message}.`;
  return message.endsWith(".") ? message : `${message}.`;
}

function formOf(fields) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  return form;
}

// The token

function askForToken(error, again) {
  unsigned.add(again);
  if (at("sign-in").hidden) focusBefore = document.activeElement;
  at("sign-in").hidden = false;
  at("sign-in-why").textContent = error.message;
  at("token").focus();
}

function signIn(event) {
  event.preventDefault();
  if (/[^\x21-\x7e]/.test(at("token").value)) {
    at("sign-in-why").textContent = "A token has no spaces, and only characters of ASCII.";
    return;
  }
  token = at("token").value;
  at("token").value = "";
  at("sign-in").hidden = true;
  focusBefore?.focus();
  const again = [...unsigned];
  unsigned.clear();
  for (const each of again) each();
}

// What is served

async function describeService() {
  try {
    showConditions((await call("v1/models")).data[0].conditions);
  } catch (error) {
    at("served").textContent = `${error.message} `;
    if (error.status === 401) askForToken(error, describeService);
  }
}

function showConditions({ model, profile, precision }) {
  at("served").textContent = `${model} · profile ${profile} · ${precision} · `;
}

// Images and their scores

class Slot {
  constructor(number) {
    this.root = copyOf("slot");
    this.root.setAttribute("aria-label", PLACES[number]);
    this.input = this.part("input");
    this.input.addEventListener("change", () => {
      place([...this.input.files], this);
      this.input.value = ""; // else the same file could not be chosen again
    });
    this.part(".remove").addEventListener("click", () => this.clear());
    this.part(".again").addEventListener("click", () => this.scoreAgain());
    this.part("img").addEventListener("error", () => this.showPreview(false));
    at("slots").append(this.root);
  }

  part(selector) {
    return this.root.querySelector(selector);
  }

  put(file) {
    this.forget();
    this.file = file;
    this.part("img").src = URL.createObjectURL(file);
    this.part("img").alt = `Preview of ${file.name}`;
    this.part(".name").textContent = file.name;
    this.showPreview(true);
    this.score();
  }

  clear() {
    this.forget();
    this.file = null;
    this.part("img").removeAttribute("src");
    this.showPreview(false);
    this.say("");
    arrange();
    this.input.focus();
  }

  forget() {
    this.request?.abort();
    if (this.file) URL.revokeObjectURL(this.part("img").src);
    this.found = null;
  }

  showPreview(isSeen) {
    this.part("img").hidden = !(this.file && isSeen);
    this.part(".unseen").hidden = !this.file || isSeen;
  }

  scoreAgain() {
    this.input.focus();
    this.score();
  }

  async score() {
    const request = new AbortController();
    this.request = request;
    this.say("Scoring …");
    arrange();
    try {
      const answer = await call("v1/score", formOf([["files", this.file]]), request.signal);
      if (request.signal.aborted) return;
      this.show(answer.scores[0], answer.conditions);
    } catch (error) {
      if (request.signal.aborted) return;
      this.say("", error);
      if (error.status === 401) askForToken(error, () => this.file && this.score());
    }
    arrange();
  }

  say(status, error = null) {
    this.part(".status").textContent = status;
    this.part(".status").classList.remove("done");
    this.part(".error").textContent = error?.message ?? "";
    this.part(".again").hidden = !PASSING.includes(error?.status);
  }

  show(score, conditions) {
    const [low, high] = conditions.score_range;
    const levels = Object.entries(score.probabilities);
    const digits = high - low > 1 ? 2 : 3;
    this.found = { score: score.score, low, high, digits };
    this.part(".number").textContent = score.score.toFixed(digits);
    this.part(".level").textContent = likeliestOf(levels)[0].toLowerCase();
    this.part(".scale i").style.left = `${(100 * (score.score - low)) / (high - low)}%`;
    this.part(".ends").firstElementChild.textContent = low;
    this.part(".ends").lastElementChild.textContent = high;
    const std = score.std.toFixed(2);
    this.part(".std").textContent = `Standard deviation of the level probabilities: ${std} levels`;
    fillBars(this.part(".bars"), levels.reverse());
    this.say(`Scored ${score.score.toFixed(digits)} of ${low} to ${high}.`);
    this.part(".status").classList.add("done"); // heard, not seen: the number is there
    showConditions(conditions);
  }
}

function fillBars(list, shares) {
  const [best] = likeliestOf(shares);
  list.replaceChildren(...shares.map(([word, share]) => {
    const bar = copyOf("bar");
    bar.querySelector("dt").textContent = word;
    bar.querySelector(".share").textContent = percent(share);
    bar.querySelector("i").style.width = `${100 * share}%`;
    bar.classList.toggle("likeliest", word === best);
    return bar;
  }));
}

const slots = PLACES.map((_, number) => new Slot(number));
const filled = () => slots.filter((slot) => slot.file);
const emptyOrSecond = () => slots.find((slot) => !slot.file) ?? slots[1];

function place(files, slot) {
  at("note").textContent = files.length > 2
    ? `${files.length} images came; the first two are compared.` : "";
  if (files.length === 1) slot.put(files[0]);
  else files.slice(0, 2).forEach((file, number) => slots[number].put(file));
}

function arrange() {
  const count = filled().length;
  slots[1].root.hidden = count === 0;
  slots.forEach((slot, number) => {
    const isFilled = Boolean(slot.file);
    slot.root.classList.toggle("filled", isFilled);
    slot.part(".name").hidden = slot.part(".remove").hidden = !isFilled;
    slot.part(".result").hidden = !slot.found;
    slot.part(".which").textContent = headingOf(isFilled, count, number);
    slot.part(".choose span").textContent = isFilled ? "Choose another" : CHOOSE[number];
  });
  at("asking").hidden = count === 0;
  compare(...slots.map((slot) => slot.found));
}

function headingOf(isFilled, count, number) {
  if (isFilled) return count === 2 ? PLACES[number] : "";
  return count ? "Compare with another image" : "";
}

function compare(first, second) {
  at("difference").hidden = !(first && second);
  if (!first || !second) return;
  const apart = second.score - first.score;
  const size = Math.abs(apart).toFixed(first.digits);
  const sign = apart > 0 ? "+" : "−";
  const isSame = Number(size) === 0;
  at("difference").querySelector(".number").textContent = isSame ? size : sign + size;
  at("difference").querySelector(".says").textContent = isSame
    ? "Both images have the same score."
    : `The second image scores ${size} ${apart > 0 ? "higher" : "lower"} than the first, `
      + `on a scale from ${first.low} to ${first.high}.`;
}

// Questions

function choicesOf(text) {
  return [...new Set(text.split(/[,\n]/).map((each) => each.trim()).filter(Boolean))];
}

function askTyped(event) {
  event.preventDefault();
  const question = at("question").value.trim();
  const choices = choicesOf(at("choices").value);
  if (question && choices.length !== 1) return ask(question, choices);
  at("ask-error").textContent = question
    ? "Two or more different choices are needed, or none." : "A question is needed.";
  at(question ? "choices" : "question").focus();
}

async function ask(question, choices) {
  if (isAsking) return;
  const asked = filled();
  hold(true);
  const outcomes = await Promise.allSettled(asked.map((slot) => answerOf(slot, question, choices)));
  hold(false);
  showAnswers(question, outcomes.flatMap(({ value }) => value ?? []));
  const number = outcomes.findIndex(({ reason }) => reason);
  if (number < 0) {
    if (at("question").value.trim() === question) at("question").value = "";
    return;
  }
  const { reason } = outcomes[number];
  at("ask-error").textContent = (asked.length > 1 ? `${PLACES[number]}: ` : "") + reason.message;
  if (reason.status === 401) askForToken(reason, () => ask(question, choices));
}

async function answerOf(slot, question, choices) {
  const who = filled().length > 1 ? `${PLACES[slots.indexOf(slot)]} · ` : "";
  const name = who + slot.file.name;
  const fields = [["file", slot.file], ["question", question]];
  const body = formOf([...fields, ...choices.map((choice) => ["choice", choice])]);
  const [answer] = (await call("v1/ask", body)).answers;
  // In the order given: an object's keys that are numbers come sorted.
  return { name, answer, shares: choices.map((each) => [each, answer.probabilities[each]]) };
}

function showAnswers(question, found) {
  if (!found.length) return;
  const entry = copyOf("answer");
  entry.querySelector(".question").textContent = question;
  entry.querySelector(".said").append(...found.map(replyOf));
  at("answers").append(entry);
}

function replyOf({ name, answer, shares }) {
  const reply = copyOf("reply");
  const text = answer.text ?? answer.answer;
  reply.querySelector(".who").textContent = name;
  const more = answer.is_whole === false ? " … (the answer was too long and ends here)" : "";
  reply.querySelector(".text").textContent = text + more;
  if (shares.length) fillBars(reply.querySelector(".bars"), shares);
  return reply;
}

function hold(isHeld) {
  isAsking = isHeld;
  for (const id of ["question", "choices"]) at(id).readOnly = isHeld; // disabled loses the focus
  for (const control of at("ask").elements) control.setAttribute("aria-disabled", isHeld);
  at("asking").querySelector(".status").textContent = isHeld ? "Answering …" : "";
  if (isHeld) at("ask-error").textContent = "";
}

// Dropping and pasting

function slotOf(event) {
  return slots.find((slot) => slot.root.contains(event.target)) ?? emptyOrSecond();
}

function mark(marked) {
  for (const slot of slots) slot.root.classList.toggle("over", slot === marked);
}

function over(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  mark(slotOf(event));
}

function drop(event) {
  mark(null);
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  place([...event.dataTransfer.files], slotOf(event));
}

function paste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  place(files, emptyOrSecond());
}

document.addEventListener("dragover", over);
document.addEventListener("dragleave", (event) => event.relatedTarget || mark(null));
document.addEventListener("drop", drop);
document.addEventListener("paste", paste);
at("sign-in").addEventListener("submit", signIn);
at("ask").addEventListener("submit", askTyped);
at("describe").addEventListener("click", () => ask(DESCRIBE, []));
arrange();
describeService();
