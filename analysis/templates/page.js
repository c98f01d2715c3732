"use strict";
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
const unpack = async id => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), sign => sign.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
};
const data = unpack("data").then(JSON.parse);
const table = ({texts, tables}, name) => texts[tables[name]];

// The scheme: the switch names what it leads to.
const scheme = document.getElementById("scheme"), system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.scheme ?? (system.matches ? "dark" : "light")) === "dark";
const nameScheme = () => { scheme.textContent = isDark() ? "Light" : "Dark"; scheme.ariaLabel = scheme.textContent + " colours"; };
scheme.addEventListener("click", () => {
  document.documentElement.dataset.scheme = isDark() ? "light" : "dark";
  chosen.set(document.documentElement.dataset.scheme);
  nameScheme();
});
system.addEventListener("change", nameScheme);
scheme.hidden = false;
nameScheme();

// Contents: beside the text where there is room, and always where the reader is.
const contents = document.querySelector("#contents details"), beside = matchMedia("(min-width: 72rem)");
const fold = () => { contents.open = beside.matches; };
beside.addEventListener("change", fold);
fold();
const entries = [...contents.querySelectorAll("a")], headings = entries.map(entry => document.getElementById(entry.hash.slice(1)));
const follow = () => {
  const current = entries[headings.findLastIndex(heading => heading.getBoundingClientRect().top < innerHeight / 3)];
  if (current?.ariaCurrent) return;
  for (const entry of entries) entry.removeAttribute("aria-current");
  for (const item of contents.querySelectorAll("li")) item.classList.toggle("here", item.contains(current ?? null));
  current?.setAttribute("aria-current", "location");
  if (beside.matches) current?.scrollIntoView({block: "nearest", behavior: "instant"});
};
addEventListener("scroll", () => requestAnimationFrame(follow), {passive: true});
follow();
contents.addEventListener("click", event => { if (event.target.closest("a")) fold(); });

// Tables: columns that name rows stay in sight, as many as leave room for others.
const ends = box => box.classList.toggle("end", box.scrollLeft + box.clientWidth > box.scrollWidth - 8);
const stick = new ResizeObserver(seen => {
  for (const {target} of seen) {
    let left = 0;
    target.parentNode.classList.toggle("scrolls", target.offsetWidth > target.parentNode.clientWidth);
    ends(target.parentNode);
    for (const [column, head] of [...target.tHead.rows[0].cells].entries()) {
      if (!head.classList.contains("name")) break;
      const right = left + head.getBoundingClientRect().width, fits = right < target.parentNode.clientWidth * 0.62;
      // Rounded down, so that no column moves until it has to.
      if (column) target.style.setProperty(`--left-${column + 1}`, fits ? `${Math.floor(left)}px` : "auto");
      left = fits ? right : Infinity;
    }
  }
});
for (const one of document.querySelectorAll("main table")) {
  stick.observe(one);
  one.parentNode.addEventListener("scroll", () => ends(one.parentNode), {passive: true});
}

// Every column of a longer table sorts, and long tables are filtered by words; those of the first page are read as they are.
const key = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
const compare = (a, b) => parseFloat(a) - parseFloat(b) || a.localeCompare(b, "en", {numeric: true});
for (const table of document.querySelectorAll("main table")) {
  const rows = [...table.tBodies[0]?.rows ?? []], heads = [...table.tHead.rows[0].cells];
  // A row without a name goes on with that of the row above.
  if (rows.length < 7 || table.closest(".opening") || rows.some(row => !key(row, 0))) continue;
  for (const [column, head] of heads.entries()) {
    const button = make("button", {type: "button"});
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const turn = head.ariaSort === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turn > 0 ? "ascending" : "descending");
      rows.sort((a, b) => turn * compare(key(a, column), key(b, column)));
      table.tBodies[0].append(...rows);
    });
  }
  if (rows.length < 10) continue;
  const label = make("label", {className: "filter", textContent: "Rows with all these words:"});
  const words = make("input", {type: "search"}), count = make("output", {textContent: `${rows.length} rows`});
  words.addEventListener("input", () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !wanted.every(word => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
  });
  label.append(words, count);
  table.parentNode.before(label);
}

// Links to data lead to what this page holds, or to the files beside it.
data.then(held => {
  for (const link of document.querySelectorAll("a[data-file]")) {
    if (!(link.dataset.file in held.tables)) continue; // beside this page
    link.href = URL.createObjectURL(new Blob([table(held, link.dataset.file)], {type: "text/csv;charset=utf-8"}));
  }
});

// Figures: each can be enlarged; on a wide screen the one that answers to the pointer is shown as soon as it comes into view.
const wide = matchMedia("(min-width: 60rem)").matches;
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); show(entry.target, true); }
}, {rootMargin: "400px"});
let library = null;
const load = async () => document.head.append(make("script", {textContent: await unpack("library")}));
// Panels fill the width: as many side by side as fit, each row of them as wide as the page.
const fitted = (part, width, {axis, panel}) => {
  const {spec} = part, room = width - axis, gap = panel - spec.width;
  const beside = Math.max(1, Math.min(part.facet.sort.length, part.columns, Math.floor(room / panel)));
  const factor = Math.min(Math.max((room / beside - gap) / spec.width, 0.75), 1.6);
  const size = {width: spec.width * factor, height: spec.height * Math.max(Math.min(factor, 1.2), 1)};
  return {...part, columns: beside, spec: {...spec, ...size}};
};
async function show(figure, live) {
  const name = figure.dataset.chart, button = figure.querySelector(".tools button");
  if (!figure.querySelector(".chart")) {
    const place = make("div", {className: "chart"});
    figure.querySelector(".tools").before(place);
    const held = await data, chart = held.charts[name];
    await (library ??= load());
    const values = {...chart.data, values: table(held, name)};
    const vconcat = chart.vconcat.map(part => fitted(part, figure.clientWidth, chart.usermeta));
    await vegaEmbed(place, {...chart, vconcat, data: values}, {actions: false, renderer: "svg"});
  }
  figure.classList.toggle("live", live);
  button.textContent = live ? "Show as drawn" : "Zoom and point";
  button.title = "Drag to move, Shift and wheel to zoom, double click to go back; a click in the legend picks out";
}
const enlarge = image => {
  const dialog = make("dialog", {ariaLabel: "enlarged figure"}), form = make("form", {method: "dialog"});
  form.append(make("button", {textContent: "Close"}));
  dialog.append(form, image.cloneNode());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
};
for (const figure of document.querySelectorAll("figure")) {
  const tools = make("div", {className: "tools"}), larger = make("button", {type: "button", textContent: "Enlarge"});
  if (figure.dataset.chart) {
    const button = make("button", {type: "button", textContent: "Zoom and point"});
    button.addEventListener("click", () => show(figure, !figure.classList.contains("live")));
    tools.append(button);
    if (wide) seen.observe(figure);
  }
  larger.addEventListener("click", () => enlarge(figure.querySelector("img")));
  tools.append(larger);
  figure.querySelector("figcaption").before(tools);
}
