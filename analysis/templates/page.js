"use strict";
const embedded = id => JSON.parse(document.getElementById(id).textContent);
const tables = embedded("tables"), charts = embedded("charts");
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

// Tables: every column sorts, and long tables are filtered by words.
const key = (row, column) => row.cells[column].dataset.key ?? row.cells[column].textContent.trim();
const compare = (a, b) => parseFloat(a) - parseFloat(b) || a.localeCompare(b, "en", {numeric: true});
for (const table of document.querySelectorAll("main table")) {
  const rows = [...table.tBodies[0]?.rows ?? []], heads = [...table.tHead.rows[0].cells];
  if (rows.length < 7) continue;
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

// Links to data lead to what this page holds.
for (const link of document.querySelectorAll("a[data-file]")) {
  link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(tables[link.dataset.file]);
}

// Figures: on a wide screen the one that answers to the pointer is shown as soon as it comes into view.
const wide = matchMedia("(min-width: 60rem)").matches;
const seen = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); show(entry.target, true); }
}, {rootMargin: "400px"});
async function show(figure, live) {
  const name = figure.dataset.chart, [button] = figure.getElementsByTagName("button");
  if (!figure.querySelector(".chart")) {
    const place = make("div", {className: "chart"}), chart = charts[name];
    button.before(place);
    await vegaEmbed(place, {...chart, data: {...chart.data, values: tables[name]}}, {actions: false, renderer: "svg"});
  }
  figure.classList.toggle("live", live);
  button.textContent = live ? "Show as drawn" : "Zoom and point";
  button.title = "Drag to move, Shift and wheel to zoom, double click to go back; a click in the legend picks out";
}
for (const figure of document.querySelectorAll("figure[data-chart]")) {
  const button = make("button", {type: "button", textContent: "Zoom and point"});
  button.addEventListener("click", () => show(figure, !figure.classList.contains("live")));
  figure.querySelector("figcaption").before(button);
  if (wide) seen.observe(figure);
}
