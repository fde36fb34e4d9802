// The prompts or questions of a report: filters, search, pages and keys. The view is in the address: #level=1&show=hinted&search=angle&page=2
// A large page has only what the filters need; the rest of its cards is in files beside it, loaded when they are shown or searched.
// Texts of models and data become text nodes, never markup.
"use strict";
(() => {
  const source = document.getElementById("data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  source.remove();
  const PER_PAGE = 20;
  const form = document.getElementById("filters");
  const NAMES = ["search", "step", "level", "show", "sample"].filter((name) => form.elements[name]);
  const list = document.getElementById("cards");
  const byId = (id) => document.getElementById(id);
  let found = [], shown = [], page = 0, current = 0;

  // --- the cards and their files

  const files = data.files || [];
  const cards = data.cards || data.index.state.map((_, at) =>
    ({ at, ...Object.fromEntries(Object.entries(data.index).map(([key, values]) => [key, values[at]])) }));
  const loading = new Map();

  // Called by the files.
  window.hintGrpoCards = (name, contents) => {
    const first = files.indexOf(name) * data.per_file;
    contents.forEach((rest, place) => Object.assign(cards[first + place], rest));
  };

  function loadFile(name) {
    if (!loading.has(name)) loading.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.addEventListener("load", () => { script.remove(); resolve(); });
      script.addEventListener("error", () => { script.remove(); loading.delete(name); reject({ file: name }); });
      script.src = `${data.folder}/${name}`;
      document.head.append(script);
    }));
    return loading.get(name);
  }

  const hasAll = (wanted) => wanted.every((card) => card.levels);

  function load(wanted) {
    const missing = new Set(wanted.filter((card) => !card.levels).map((card) => files[Math.floor(card.at / data.per_file)]));
    return Promise.all([...missing].map(loadFile));
  }

  // --- small helpers

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null && child !== ""));
    return made;
  }

  const inWords = (count) => count.toLocaleString("en-US");
  const number = (value) => (value === null ? "–" : String(Math.round(value * 1000) / 1000));

  // Text with each occurrence of the searched words marked.
  function marked(text, needle) {
    const nodes = [];
    const lower = needle ? text.toLowerCase() : "";
    let from = 0;
    // Lower case can change a text's length: then nothing is marked.
    while (needle && lower.length === text.length) {
      const at = lower.indexOf(needle, from);
      if (at < 0) break;
      nodes.push(text.slice(from, at), element("mark", "found", text.slice(at, at + needle.length)));
      from = at + needle.length;
    }
    nodes.push(text.slice(from));
    return nodes.filter((node) => node !== "");
  }

  // --- one card

  function picture(card) {
    const found = data.pictures[card.image];
    if (!found.src) return element("div", "gone", element("b", "", "no picture"), element("br"), found.reason, element("br"), found.path);
    const image = element("img");
    image.addEventListener("load", () => image.classList.add("drawn"));
    image.addEventListener("error", () => image.classList.add("broken"));
    image.alt = "picture of " + card.id;
    image.title = found.path;
    image.src = found.src;
    return image;
  }

  // The turn as the model saw it: <think>, the hint (if it is in the turn), and what the model wrote.
  function turn(level, text, needle) {
    const parts = data.think ? [element("span", "tag", data.think)] : [];
    if (level.hint && data.injection === "answer") parts.push(element("mark", "", ...marked(level.hint, needle)));
    for (const piece of text.split(/(<\/?(?:think|answer)>)/)) {
      if (/^<\/?(?:think|answer)>$/.test(piece)) parts.push(element("span", "tag", piece));
      else parts.push(...marked(piece, needle));
    }
    if (!text) parts.push(element("span", "tag", " (nothing)"));
    return element("div", "turn", ...parts);
  }

  function answer(level, completion, needle) {
    const right = completion.verdict === "right";
    const value = completion.answer === null ? null : element("span", "value", " ", ...marked(completion.answer.trim(), needle));
    const rewards = Object.entries(completion.rewards).map(([name, reward]) => name + " " + number(reward));
    const facts = [...(completion.notes || []), ...rewards];
    if (completion.advantage !== null) facts.push("advantage " + number(completion.advantage));
    facts.push(completion.tokens + " tokens" + (completion.finish === "length" ? ", cut off" : ""));
    return element("article", right ? "answer right" : "answer wrong",
      completion.name ? element("div", "name", completion.name) : null,
      element("header", "", (right ? "✓ " : "✗ ") + completion.verdict + (value ? ":" : ""), value),
      turn(level, completion.text, needle),
      element("footer", "", facts.join(" · ")));
  }

  const grid = (level, needle) => element("div", "answers", ...level.completions.map((one) => answer(level, one, needle)));

  function levelBlock(card, level, needle) {
    if (level.level === null) return element("section", "level", grid(level, needle)); // an evaluation has no levels
    const trained = level.level === card.chosen;
    const facts = [];
    if (level.hint) {
      const known = trained && card.hint_steps !== null;
      facts.push(known ? `hint: ${card.hint_steps} of ${card.num_steps} steps, ${card.hint_tokens} tokens` : "with a hint");
    } else facts.push(level.hint === null ? "not stored" : "no hint");
    if (level.completions.length) {
      const right = level.completions.filter((one) => one.verdict === "right").length;
      facts.push(`${right} of ${level.completions.length} right`);
    }
    if (trained) facts.push("trained on this level");
    if (trained && card.valid === false) facts.push("all rewards equal: no training signal");
    const block = element("section", trained ? "level trained" : "level",
      element("h4", "", element("b", "", "Level " + level.level), element("span", "", " · " + facts.join(" · "))));
    if (level.hint && data.injection === "query") {
      // Split first: the question may hold braces itself.
      const [before, after] = data.query_hint.split("{Hint}");
      const [head, tail] = before.split("{Question}");
      block.append(element("p", "asked", head, ...marked(card.question, needle), tail, element("mark", "", ...marked(level.hint, needle)), after));
    }
    if (level.completions.length) block.append(grid(level, needle));
    else if (level.rewards)
      block.append(element("p", "", "rewards: " + level.rewards.map(number).join(", ") + " (the completions were not stored)"));
    return block;
  }

  function link(text, changes, title) {
    const made = element("a", "", text);
    made.href = "#" + new URLSearchParams(changes);
    made.title = title;
    return made;
  }

  function cardElement(card, needle) {
    const isStep = card.step !== undefined;
    const header = element("header", "",
      isStep ? element("b", "", "Step " + card.step) : null,
      link(card.id, { sample: card.id }, isStep ? "this sample at all steps" : "this question alone"),
      element("span", "badge " + card.state, data.states[card.state]),
      element("span", "grow", link("link", isStep ? { sample: card.id, step: card.step } : { sample: card.id }, "the address of this card")));
    const texts = element("div", "",
      element("p", "", element("span", "label", "Question"), ...marked(card.question, needle)),
      element("p", "", element("span", "label", "Ground truth"), element("b", "", ...marked(card.solution, needle))));
    return element("article", "card", header, element("div", "ask", picture(card), texts),
      ...card.levels.map((level) => levelBlock(card, level, needle)));
  }

  // --- filters

  const FILES_AT_ONCE = 8;

  // The cards among `chosen` that hold the searched text. Loads their files in batches; null if another view is shown meanwhile.
  async function searched(chosen, needle, isCurrent) {
    const hits = [];
    const batch = FILES_AT_ONCE * data.per_file;
    for (let from = 0; from < chosen.length; from += batch) {
      const part = chosen.slice(from, from + batch);
      byId("count").textContent = `searching: ${inWords(from)} of ${inWords(chosen.length)} ${data.noun}`;
      await load(part);
      if (!isCurrent()) return null;
      hits.push(...part.filter((card) => haystack(card).includes(needle)));
    }
    return hits;
  }

  // Everything a search looks through, in lower case; built at the first search.
  function haystack(card) {
    if (card.text === undefined) {
      const texts = [card.id, card.question, card.solution, data.pictures[card.image].path];
      for (const level of card.levels) {
        texts.push(level.hint || "");
        for (const one of level.completions) texts.push(one.text, one.answer || "", one.verdict);
      }
      card.text = texts.join("\n").toLowerCase();
    }
    return card.text;
  }

  // All filters but the search.
  function matches(card, view) {
    return (!view.step || card.step === Number(view.step))
      && (!view.level || card.chosen === Number(view.level))
      && (!view.show || card.state === view.show)
      && (!view.sample || card.id === view.sample);
  }

  function viewOfAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const view = Object.fromEntries(NAMES.map((name) => [name, given.get(name) || ""]));
    view.page = Math.max(1, Number.parseInt(given.get("page"), 10) || 1);
    return view;
  }

  function viewOfForm() {
    return Object.fromEntries(NAMES.map((name) => [name, form.elements[name].value.trim()]));
  }

  function remember(view) {
    const kept = Object.entries(view).filter(([name, value]) => value && !(name === "page" && value === 1));
    // Replaces the entry in the history: one entry per typed letter would be a nuisance.
    history.replaceState(null, "", "#" + new URLSearchParams(kept));
  }

  // Shows a view and selects one of its cards. Without files to load, it is done when the function returns.
  let latest = 0;
  async function show(view, place = 0, scrolls = false) {
    const mine = ++latest;
    const isCurrent = () => mine === latest;
    for (const name of NAMES) if (form.elements[name] !== document.activeElement) form.elements[name].value = view[name];
    const needle = view.search.toLowerCase();
    list.setAttribute("aria-busy", "true");
    try {
      let chosen = cards.filter((card) => matches(card, view));
      if (needle) {
        chosen = hasAll(chosen) ? chosen.filter((card) => haystack(card).includes(needle)) : await searched(chosen, needle, isCurrent);
        if (!chosen) return;
      }
      const pages = Math.max(1, Math.ceil(chosen.length / PER_PAGE));
      const first = (Math.min(view.page || 1, pages) - 1) * PER_PAGE;
      const part = chosen.slice(first, first + PER_PAGE);
      if (!hasAll(part)) {
        await load(part);
        if (!isCurrent()) return;
      }
      found = chosen;
      shown = part;
      page = first / PER_PAGE;
      list.replaceChildren(...shown.map((card) => cardElement(card, needle)));
      showCounts(pages);
      select(place, scrolls);
    } catch (error) {
      if (!error.file) throw error;
      if (isCurrent()) showFailure(error.file);
    } finally {
      if (isCurrent()) list.setAttribute("aria-busy", "false");
    }
  }

  function showCounts(pages) {
    byId("count").textContent = found.length === cards.length
      ? `${inWords(found.length)} ${data.noun}` : `${inWords(found.length)} of ${inWords(cards.length)} ${data.noun}`;
    byId("page").textContent = `page ${inWords(page + 1)} of ${inWords(pages)}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page + 1 >= pages;
  }

  function showFailure(file) {
    list.replaceChildren(element("p", "note", `${data.folder}/${file} could not be loaded. If you copied or moved this page, `
      + `also copy the folder ${data.folder}. If the report has been written again since you opened it, reload it.`));
    byId("count").textContent = byId("page").textContent = "";
  }

  function update(changes, place, scrolls) {
    const view = { ...viewOfAddress(), ...changes };
    remember(view);
    return show(view, place, scrolls);
  }

  const clear = () => update({ ...Object.fromEntries(NAMES.map((name) => [name, ""])), page: 1 });

  // --- moving

  function select(place, scrolls) {
    const cards = list.children;
    if (cards[current]) cards[current].classList.remove("current");
    current = Math.max(0, Math.min(place, cards.length - 1));
    if (!cards[current]) return;
    cards[current].classList.add("current");
    if (scrolls) cards[current].scrollIntoView({ block: "start" });
  }

  function turnPage(by, place) {
    const next = page + by;
    if (next < 0 || next * PER_PAGE >= found.length) return;
    update({ page: next + 1 }, place, true);
  }

  function step(by) {
    const next = current + by;
    if (next < 0) turnPage(-1, PER_PAGE - 1);
    else if (next >= list.children.length) turnPage(1, 0);
    else select(next, true);
  }

  let hasMoved = false;
  function move(by) {
    // The first key goes to the first card instead of past it.
    if (!hasMoved && by > 0) select(current, true);
    else step(by);
    hasMoved = true;
  }

  const help = byId("help");
  const KEYS = {
    j: () => move(1), ArrowRight: () => move(1),
    k: () => move(-1), ArrowLeft: () => move(-1),
    n: () => turnPage(1, 0), p: () => turnPage(-1, 0),
    s: () => { const card = shown[current]; if (card) location.hash = new URLSearchParams({ sample: card.id }); },
    "/": () => form.elements.search.focus(),
    Escape: () => clear(),
    "?": () => (help.open ? help.close() : help.showModal()),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (help.open && event.key !== "?") return;
    if (Object.hasOwn(KEYS, event.key)) { event.preventDefault(); KEYS[event.key](); }
  });
  form.addEventListener("input", () => update({ ...viewOfForm(), page: 1 }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); document.activeElement.blur(); clear(); });
  byId("previous").addEventListener("click", () => turnPage(-1, 0));
  byId("next").addEventListener("click", () => turnPage(1, 0));
  // A view that is opened by its address starts at the cards.
  function open() {
    show(viewOfAddress()).then(() => { if (location.hash.length > 1) byId("prompts").scrollIntoView(); });
  }
  window.addEventListener("hashchange", open);
  open();
})();
