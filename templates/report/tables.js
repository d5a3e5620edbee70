"use strict";
// Texts, numbers and tables. Everything that comes from outside is set as text, never as markup.

/** An element with attributes and children; strings become text. */
function el(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "onclick" || key === "onchange" || key === "oninput" || key === "ontoggle") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/** For plotly, which reads a little HTML in its texts. */
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** A parameter's value as the tables of the command line show it. */
function shown(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Numbers before texts, numbers by size, what does not apply last. */
function compareValues(a, b) {
  const none = (v) => v === null || v === undefined;
  if (none(a) || none(b)) return none(a) - none(b);
  const [x, y] = [typeof a === "number", typeof b === "number"];
  if (x && y) return a - b;
  if (x !== y) return x ? -1 : 1;
  return shown(a) < shown(b) ? -1 : shown(a) > shown(b) ? 1 : 0;
}

/** Decimals that a column needs: two, and as many more as its largest number needs for three digits. */
function decimalsFor(values) {
  const largest = Math.max(0, ...values.filter((v) => v !== null && isFinite(v)).slice(0, 20000).map(Math.abs));
  let decimals = 2;
  while (largest > 0 && decimals < 12 && largest * 10 ** decimals < 100) decimals += 1;
  return decimals;
}

function spread(result, decimals) {
  if (!result) return "–";
  const [mean, std] = result;
  return std === null ? mean.toFixed(decimals) : `${mean.toFixed(decimals)} ± ${std.toFixed(decimals)}`;
}

const whole = (n) => n.toLocaleString("en-US");
const counted = (n, one, many) => `${whole(n)} ${n === 1 ? one : many}`;

/** A table that shows some rows at first and more when asked. Columns: {head, number, cell(row), sort(row)}. */
function table(columns, rows, options) {
  const { first = 20, caption, sorted = null } = options || {};
  let order = sorted || { column: -1, descending: false };
  let visible = first;
  let current = rows;
  const head = el("tr", {});
  const body = el("tbody", {});
  const more = el("button", { type: "button", class: "plain more", onclick: () => { visible += 100; draw(); } });
  const heads = columns.map((column, place) => {
    const button = el("button", { type: "button", onclick: () => sortBy(place) }, column.head);
    const cell = el("th", { scope: "col", class: column.number && "number" }, column.sort ? button : column.head);
    head.append(cell);
    return cell;
  });
  function sortBy(place) {
    order = { column: place, descending: order.column === place && !order.descending };
    draw();
  }
  function draw() {
    let list = current;
    if (order.column >= 0) {
      const by = columns[order.column].sort;
      list = [...current].sort((a, b) => {
        const [x, y] = [by(a), by(b)];
        const none = (v) => v === null || v === undefined;
        if (none(x) || none(y)) return none(x) - none(y);
        return order.descending ? compareValues(y, x) : compareValues(x, y);
      });
    }
    heads.forEach((cell, place) => {
      if (place === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    body.replaceChildren(...list.slice(0, visible).map((row) => el("tr", { class: row.first && "first" },
      columns.map((column) => el("td", { class: [column.number && "number", column.mark && column.mark(row) && "best", column.long && "long"].filter(Boolean).join(" ") || null },
        column.cell(row))))));
    more.hidden = list.length <= visible;
    more.textContent = `Show more (${whole(list.length - visible)} left)`;
  }
  draw();
  const element = el("div", {}, el("div", { class: "scroll" },
    el("table", {}, caption && el("caption", { class: "about" }, caption), el("thead", {}, head), body)), more);
  return { element, show(list) { current = list; visible = first; draw(); } };
}

/** A labelled choice. Options: [value, text]. */
function choice(label, options, value, onchange) {
  const select = el("select", { onchange: () => onchange(select.value) },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text)));
  return el("label", {}, label, select);
}

function tick(label, checked, onchange) {
  const box = el("input", { type: "checkbox", checked, onchange: () => onchange(box.checked) });
  return el("label", { class: "check" }, box, label);
}
