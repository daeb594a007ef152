"use strict";
performance.mark("script begins");
const data = JSON.parse(document.getElementById("data").textContent);
performance.mark("data read");
const form = document.getElementById("filters"), grid = document.getElementById("cards"), tip = document.getElementById("tip");
const NAMES = ["following", "preserving", "quality"], LETTERS = ["F", "P", "Q"];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
  made.append(...children);  // strings become text, never markup
  return made;
}

// One card per case; its images are put in when it comes near the window.
const cards = data.cases.map((one, index) => {
  const card = element("article", { class: "card", "data-index": index, "data-id": one.id },
    element("h3", { dir: "auto" }, one.instruction, element("span", {}, one.type)), element("div", { class: "strip" }));
  grid.append(card);
  return card;
});
const words = data.cases.map(one => [one.id, one.type, one.photograph, one.instruction, ...one.edits.flatMap(edit => edit.feedback)].join("\n").toLowerCase());

let looked;
const firstLook = new Promise(done => { looked = done; });
const near = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) { fill(entry.target); near.unobserve(entry.target); }
  looked();
}, { rootMargin: "600px 0px" });

// Pictures follow this script in the file, a hundred at a time, one a line in base64; images that wait for theirs get it when it has arrived.
const images = [], waiting = new Map(), NOTHING = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>";

function arrived(block) {
  images.push(...block.textContent.split("\n"));
  block.remove();
  for (const [made, index] of waiting) if (index < images.length) { made.src = source(index); waiting.delete(made); }
}

function source(index) { return `data:image/webp;base64,${images[index]}`; }

let wanted = {};

// Score of an edit in the perspective asked for, or the mean of all three; NaN where any of them is missing.
function score(edit, perspective) {
  if (perspective !== "") return edit.scores[perspective] ?? NaN;
  return edit.scores.some(each => each === null) ? NaN : edit.scores.reduce((sum, each) => sum + each, 0) / 3;
}

function fits(one, index) {
  const value = score(one.edits[wanted.row], wanted.perspective);
  return (!wanted.type || one.type === wanted.type)
    && (wanted.least === "" || value >= Number(wanted.least))
    && (wanted.most === "" || value <= Number(wanted.most))
    && (!wanted.words || words[index].includes(wanted.words.toLowerCase()));
}

// What cards are sorted by, the smallest first; cases without a score come last in every order.
function rank(one) {
  const own = score(one.edits[wanted.row], wanted.perspective);
  const other = wanted.other === "" ? 0 : score(one.edits[wanted.other], wanted.perspective);
  const value = { worst: own, best: -own, gain: other - own, loss: own - other }[wanted.sort];
  return Number.isNaN(value) ? Infinity : value;
}

function show() {
  waiting.clear();
  const order = cards.map((card, index) => index);
  if (wanted.sort) {
    const ranks = data.cases.map(rank);
    order.sort((a, b) => (ranks[a] === ranks[b] ? a - b : ranks[a] - ranks[b]));
  }
  grid.classList.toggle("pairs", wanted.other !== "");
  near.disconnect();
  let shown = 0;
  for (const index of order) {
    const card = cards[index];
    card.hidden = !fits(data.cases[index], index);
    shown += !card.hidden;
    card.lastChild.replaceChildren();
  }
  grid.append(...order.map(index => cards[index]));
  for (const card of cards) if (!card.hidden) near.observe(card);
  document.getElementById("count").textContent = `${shown} of ${cards.length}`;
  document.getElementById("nothing").hidden = shown > 0;
  tip.hidden = true;
}

function fill(card) {
  const one = data.cases[card.dataset.index];
  const columns = wanted.other === "" ? data.columns.map((_, column) => column) : [Number(wanted.row), Number(wanted.other)];
  card.lastChild.replaceChildren(
    captionedImage(one.original, "original", `original of: ${one.instruction}`),
    ...columns.map(column => editFigure(one, column)),
    ...(one.target === null ? [] : [captionedImage(one.target, "right answer", `right answer to: ${one.instruction}`)]));
}

function captionedImage(index, name, alt, ...more) {
  return element("figure", {}, image(index, alt), element("figcaption", {}, name, ...more));
}

function image(index, alt) {
  const made = element("img", { alt, decoding: "async", src: index < images.length ? source(index) : NOTHING });
  made.addEventListener("load", () => { made.className = made.naturalWidth <= 128 ? "tiny" : ""; });  // their pixels are to be seen
  if (index >= images.length) waiting.set(made, index);
  return made;
}

function editFigure(one, column) {
  const edit = one.edits[column], name = data.columns[column];
  const beside = wanted.other !== "" && String(column) === wanted.other ? one.edits[wanted.row] : null;
  const scores = element("div", { class: "scores" }, ...edit.scores.map((value, index) => element("span", { class: NAMES[index] },
    element("b", {}, LETTERS[index]), value === null ? "–" : value.toFixed(1), ...change(value, beside?.scores[index]))));
  const shown = edit.image === null ? element("div", { class: "gone" }, "no image") : image(edit.image, `edit by ${name} of: ${one.instruction}`);
  return element("figure", { tabindex: 0, role: "group", "aria-label": spoken(edit, name), "data-column": column,
    class: String(column) === wanted.row ? "chosen" : null }, shown, element("figcaption", {}, name, scores));
}

// How far the second of two rows lies above or below the first.
function change(value, other) {
  if (value === null || other === null || other === undefined) return [];
  const by = value - other;
  return Math.abs(by) < 0.05 ? [] : [element("small", { class: by > 0 ? "up" : "down" }, ` ${by > 0 ? "+" : "−"}${Math.abs(by).toFixed(1)}`)];
}

function said(edit, index) {
  const value = edit.scores[index], success = { true: ", success", false: ", no success" }[edit.success[index]] ?? "";
  const feedback = edit.feedback[index] || (value === null ? "no score" : "nothing failed");
  return { value: value === null ? "failed" : value.toFixed(2), success, feedback: edit.failed && !edit.feedback[index] ? "no feedback" : feedback };
}

function spoken(edit, name) {
  return `${name}. ` + NAMES.map((perspective, index) => {
    const { value, success, feedback } = said(edit, index);
    return `${perspective} ${value}${success}: ${feedback}`;
  }).join(". ");
}

function openTip(figure) {
  const one = data.cases[figure.closest(".card").dataset.index], edit = one.edits[figure.dataset.column];
  tip.replaceChildren(element("strong", {}, data.columns[figure.dataset.column]), ...NAMES.map((name, index) => {
    const { value, success, feedback } = said(edit, index);
    return element("p", { class: name }, element("b", {}, `${name} ${value}`), element("span", { dir: "auto" }, `${success}: ${feedback}`));
  }), element("p", { class: "note" }, `${one.id} · ${one.photograph}`));
  tip.hidden = false;
  const place = figure.getBoundingClientRect(), own = tip.getBoundingClientRect();
  const above = place.bottom + own.height + 8 > innerHeight && place.top > own.height + 8;
  tip.style.left = `${scrollX + Math.max(8, Math.min(place.left, document.documentElement.clientWidth - own.width - 8))}px`;
  tip.style.top = `${scrollY + (above ? place.top - own.height - 6 : place.bottom + 6)}px`;
}

const figureOf = event => event.target.closest?.("figure[data-column]");
grid.addEventListener("mouseover", event => { const figure = figureOf(event); if (figure) openTip(figure); });
grid.addEventListener("mouseout", event => { if (!event.relatedTarget?.closest?.("figure[data-column]")) tip.hidden = true; });
grid.addEventListener("focusin", event => { const figure = figureOf(event); if (figure) openTip(figure); });
grid.addEventListener("focusout", () => { tip.hidden = true; });
addEventListener("keydown", event => { if (event.key === "Escape") tip.hidden = true; });

// The part of the address behind # holds the filters, so that a view can be linked to: #type=style&row=1&sort=worst
const defaults = { type: "", row: "0", other: "", perspective: "", least: "", most: "", sort: "", words: "" };

function fromAddress(scroll) {
  const text = location.hash.slice(1);
  const asked = text.includes("=") ? Object.fromEntries(new URLSearchParams(text)) : {};
  for (const [name, value] of Object.entries(defaults)) {
    const field = form.elements[name];
    field.value = asked[name] ?? value;
    if (field.selectedIndex === -1) field.value = value;  // a row that this page does not have
  }
  read();
  if (scroll && text.includes("=")) document.getElementById("gallery").scrollIntoView();
}

function read() {
  wanted = Object.fromEntries(new FormData(form));
  show();
}

function fromForm() {
  read();
  const set = Object.entries(wanted).filter(([name, value]) => value !== defaults[name]);
  history.replaceState(null, "", set.length ? "#" + new URLSearchParams(set) : "#gallery");
}

form.addEventListener("input", fromForm);
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(fromForm));
addEventListener("hashchange", () => fromAddress(true));

// The table: a click on a title sorts by it, a second one the other way round.
const table = document.getElementById("rows"), titles = [...table.tHead.rows[0].cells];
titles.forEach((title, column) => title.querySelector("button")?.addEventListener("click", () => {
  const down = title.ariaSort === "descending" || (title.ariaSort === "none" && column === 0) ? "ascending" : "descending";
  for (const each of titles) if (each.hasAttribute("aria-sort")) each.ariaSort = each === title ? down : "none";
  const sign = down === "ascending" ? 1 : -1;
  const value = row => row.cells[column].dataset.value === "" ? NaN : Number(row.cells[column].dataset.value);
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    return Number.isNaN(one) || Number.isNaN(other) ? Number.isNaN(one) - Number.isNaN(other) : sign * (one - other);
  });
  table.tBodies[0].append(...rows);
}));
for (const button of document.querySelectorAll(".worst")) button.addEventListener("click", () => {
  location.hash = "#" + new URLSearchParams({ row: button.dataset.row, sort: "worst" });
});

fromAddress(true);
performance.mark("cases built");
// How long it took until all cases stood in the page and the images of the first of them were there; tests and curious people read it off <html>.
function loaded(image) {
  if (!waiting.has(image)) return image.decode().catch(() => null);
  return new Promise(done => image.addEventListener("load", () => { if (!waiting.has(image)) done(); }));
}
firstLook.then(() => Promise.all([...document.images].map(loaded))).then(() => requestAnimationFrame(() => {
  performance.measure("cases shown", { start: 0 });
  const [measured] = performance.getEntriesByName("cases shown");
  document.documentElement.dataset.shownAfter = measured.duration.toFixed(0);
}));
