"use strict";
/* Asks the server what is to be rated, shows it and sends the answer. It knows no system, case or file. */

const get = id => document.getElementById(id);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const base = new URL(".", location.href).pathname;
const NAMES = { original: "Original", left: "A", right: "B" };
const remembered = `rater ${base}`;
const storage = (() => { try { return window.localStorage; } catch { return null; } })(); // some browsers forbid it

let rater = "", asked = null, shownAt = 0, sending = false, enlarged = 0;

/* ---- talking with the server ---- */

const place = (position, rest = "") =>
  `${base}raters/${encodeURIComponent(rater)}${position === null ? "" : `/items/${position}`}${rest}`;

async function request(address, options = {}) {
  const answer = await fetch(address, options);
  if (answer.ok || answer.status === 409) return answer.json();
  throw new Error((await answer.text()).slice(0, 300));
}

function say(text, wrong = false) {
  get("status").textContent = text;
  get("status").classList.toggle("wrong", wrong);
}

/* ---- the three views ---- */

function show(view) {
  for (const id of ["welcome", "asked", "done"]) get(id).hidden = id !== view;
  get("place").hidden = view === "welcome";
  document.documentElement.dataset.view = view;
  window.scrollTo(0, 0);
}

function count(state) {
  get("bar").max = Math.max(1, state.total);
  get("bar").value = state.answered;
  get("count").textContent = `${state.answered} of ${state.total}`;
  get("leave").textContent = `Not ${state.rater}?`;
}

async function go(position, state) {
  if (position >= state.total) { asked = null; count(state); show("done"); return; }
  asked = await request(place(position));
  count(asked);
  await fill();
  show("asked");
  get("instruction").focus({ preventScroll: true });
  shownAt = performance.now();
  prepare(position + 1);
}

function pictureOf(slot, position = asked.position) { return place(position, `/${slot}.png`); }

function describe(slot) {
  if (slot === "original") return "Original";
  return asked.question === "pairs" ? `Edit ${NAMES[slot]}` : "Edit";
}

function slotsInOrder() {
  /* A phone and a desk show the pair on either side of each other; the original comes first. */
  return ["original", "left", "right"].filter(slot => asked.pictures.includes(slot));
}

async function fill() {
  get("instruction").textContent = asked.instruction;
  const loaded = [];
  for (const figure of all("#pictures figure")) {
    const slot = figure.dataset.slot, image = figure.querySelector("img");
    figure.hidden = !asked.pictures.includes(slot);
    if (figure.hidden) { image.removeAttribute("src"); continue; }
    image.src = pictureOf(slot);
    image.alt = `${describe(slot)} picture`;
    figure.querySelector("figcaption").textContent = describe(slot);
    loaded.push(image.decode().then(() => image.classList.toggle("tiny", image.naturalWidth <= 128)));
  }
  get("pictures").classList.toggle("three", asked.pictures.length === 3);
  for (const part of all("[data-question]")) {
    const other = part.dataset.question !== asked.question;
    part.hidden = other;
    if ("disabled" in part) part.disabled = other;
  }
  for (const input of all("#answer input")) {
    const [question, aspect] = input.name.split("-");
    input.checked = question === asked.question && asked.answer !== null && String(asked.answer[aspect]) === input.value;
  }
  get("back").disabled = asked.position === 0;
  await Promise.all(loaded);
}

function prepare(position) {
  /* The next pictures are fetched while this one is looked at. */
  if (position >= asked.total) return;
  request(place(position)).then(next => {
    for (const slot of next.pictures) new Image().src = pictureOf(slot, position);
  }).catch(() => say("The connection is slow; nothing is lost."));
}

/* ---- answering ---- */

function aspects() { return all(`fieldset[data-question="${asked.question}"] .aspect`); }

function given() {
  const answer = {};
  for (const aspect of aspects()) {
    const value = aspect.querySelector("input:checked").value;
    answer[aspect.dataset.aspect] = asked.question === "scores" ? Number(value) : value;
  }
  return answer;
}

async function save() {
  if (sending || asked === null) return;
  sending = true;
  get("save").disabled = true;
  const body = JSON.stringify({
    answer: given(), seconds: (performance.now() - shownAt) / 1000, revision: asked.revision,
  });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  const changed = asked.answer !== null, position = asked.position;
  let saved = false;
  try {
    const state = await request(place(position), options);
    saved = true;
    say(state.saved ? (changed ? "Changed." : "") : "This one has an answer already, given elsewhere; nothing was counted twice.");
    await go(changed && position + 1 < state.next ? position + 1 : state.next, state);
  } catch (error) {
    say(saved ? `Saved, but the next one could not be loaded (${error.message}): reload the page.`
      : `Not saved (${error.message}). Your answer is still here: try again.`, true);
  } finally {
    sending = false;
    get("save").disabled = false;
  }
}

function pressed(key) {
  /* A digit answers the aspect that has the focus, or the first that has no answer, and goes on to the next. */
  const open = aspects().filter(aspect => !aspect.querySelector("input:checked"));
  const current = document.activeElement?.closest?.(".aspect") ?? open[0] ?? aspects()[0];
  const inputs = all("input", current);
  const input = asked.question === "scores" ? inputs.find(each => each.value === key) : inputs[Number(key) - 1];
  if (!input) return false;
  input.checked = true;
  const next = aspects().find(aspect => !aspect.querySelector("input:checked"));
  if (next) next.querySelector("input").focus(); else get("save").focus();
  return true;
}

/* ---- enlarging: the pictures in one place, one after the other ---- */

function enlarge(index) {
  const slots = slotsInOrder();
  enlarged = (index + slots.length) % slots.length;
  const slot = slots[enlarged];
  get("large").src = pictureOf(slot);
  get("large").alt = `${describe(slot)} picture, enlarged`;
  get("large").classList.toggle("tiny", document.querySelector(`[data-slot="${slot}"] img`).naturalWidth <= 128);
  get("which").textContent = describe(slot);
  if (!get("zoom").open) get("zoom").showModal();
}

/* ---- what people do ---- */

async function begin(name) {
  rater = name;
  try {
    const state = await request(place(null));
    rater = state.rater;
    storage?.setItem(remembered, rater);
    say(state.answered && state.next < state.total ? "Welcome back." : "");
    await go(state.next, state);
  } catch (error) {
    rater = "";
    show("welcome");
    say(error.message, true);
  }
}

get("begin").addEventListener("submit", event => { event.preventDefault(); begin(get("name").value.trim()); });
get("answer").addEventListener("submit", event => { event.preventDefault(); save(); });
get("back").addEventListener("click", () => { say(""); go(asked.position - 1, asked).catch(error => say(error.message, true)); });
get("review").addEventListener("click", () => {
  request(place(null)).then(state => go(state.total - 1, state)).catch(error => say(error.message, true));
});
get("leave").addEventListener("click", () => {
  storage?.removeItem(remembered);
  rater = ""; asked = null;
  say(""); show("welcome"); get("name").focus();
});
for (const figure of all("#pictures figure")) {
  figure.querySelector("button").addEventListener("click", () => enlarge(slotsInOrder().indexOf(figure.dataset.slot)));
}
get("before").addEventListener("click", () => enlarge(enlarged - 1));
get("after").addEventListener("click", () => enlarge(enlarged + 1));
get("close").addEventListener("click", () => get("zoom").close());
get("large").addEventListener("click", () => enlarge(enlarged + 1));

document.addEventListener("keydown", event => {
  if (asked === null || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (get("zoom").open) {
    if (event.key === "ArrowRight") enlarge(enlarged + 1);
    if (event.key === "ArrowLeft") enlarge(enlarged - 1);
    return;
  }
  if (/^[0-9]$/.test(event.key) && pressed(event.key)) event.preventDefault();
  if (event.key === "z") enlarge(Math.min(1, slotsInOrder().length - 1));
  const other = document.activeElement?.closest?.("button:not(#save), summary");
  if (event.key === "Enter" && !other) { event.preventDefault(); get("answer").requestSubmit(); }
});

const known = storage?.getItem(remembered);
if (known) begin(known); else { show("welcome"); get("name").focus(); }
