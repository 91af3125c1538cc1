// Sorting, filtering and pages of tables, and the choice of light or dark. Without it the page shows
// all rows in the order of the model.
"use strict";

const PAGE = 100;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function setUpTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const isDark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

class Table {
  constructor(frame) {
    this.frame = frame;
    this.table = frame.querySelector("table");
    this.body = this.table.tBodies[0];
    this.rows = [...this.body.rows];
    this.heads = [...this.table.tHead.rows[0].cells];
    this.rows.forEach((row, i) => { row.dataset.place = i; });
    this.filters = new Map();
    this.words = [];
    this.page = 0;
    this.size = PAGE;
    this.sorted = null;
    this.heads.forEach((head, column) => this.makeSortable(head, column));
    if (this.rows.length > 8) this.makeControls();
    this.makePager();
    this.show();
  }

  valueOf(row, column) {
    const cell = row.cells[column];
    if (!("number" in this.heads[column].dataset) && cell.dataset.sort === undefined) return cell.textContent;
    return cell.dataset.sort === undefined || cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
  }

  makeSortable(head, column) {
    const button = element("button", { type: "button" }, head.textContent);
    if (head.title) button.title = head.title;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => this.sortBy(column));
  }

  // Numbers begin with the largest, words with A; then the other way, then the model's order.
  sortBy(column) {
    const numbers = "number" in this.heads[column].dataset;
    const first = numbers ? "descending" : "ascending";
    const second = numbers ? "ascending" : "descending";
    const now = this.heads[column].getAttribute("aria-sort");
    const next = now === "none" ? first : now === first ? second : "none";
    for (const head of this.heads) head.setAttribute("aria-sort", "none");
    this.heads[column].setAttribute("aria-sort", next);
    this.sorted = next === "none" ? null : { column, sign: next === "ascending" ? 1 : -1 };
    this.page = 0;
    this.show();
  }

  makeControls() {
    const search = element("input", { type: "search", placeholder: "any words" });
    search.addEventListener("input", () => {
      this.words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.page = 0;
      this.show();
    });
    this.shown = element("span", { className: "shown" });
    this.shown.setAttribute("role", "status");
    const controls = element("div", { className: "controls" }, element("label", {}, "Filter", search));
    this.heads.forEach((head, column) => {
      if ("choices" in head.dataset) this.addChoice(controls, head, column);
    });
    controls.append(this.shown);
    this.frame.prepend(controls);
  }

  addChoice(controls, head, column) {
    const values = [...new Set(this.rows.map((row) => row.cells[column].textContent))];
    if (values.length < 2 || values.length > 60) return;
    values.sort(new Intl.Collator("en", { numeric: true }).compare);
    const select = element("select", {}, element("option", { value: "" }, "all"));
    for (const value of values) select.append(element("option", { value }, value));
    select.addEventListener("change", () => {
      if (select.value === "") this.filters.delete(column);
      else this.filters.set(column, select.value);
      this.page = 0;
      this.show();
    });
    controls.append(element("label", {}, head.textContent, select));
  }

  makePager() {
    if (this.rows.length <= PAGE) return;
    this.back = element("button", { type: "button" }, "Previous");
    this.next = element("button", { type: "button" }, "Next");
    this.all = element("button", { type: "button" }, "Show all");
    this.where = element("span");
    this.back.addEventListener("click", () => { this.page -= 1; this.show(); });
    this.next.addEventListener("click", () => { this.page += 1; this.show(); });
    this.all.addEventListener("click", () => {
      this.size = this.size === PAGE ? Infinity : PAGE;
      this.page = 0;
      this.show();
    });
    this.frame.append(element("div", { className: "pager" }, this.back, this.where, this.next, this.all));
  }

  matches(row) {
    for (const [column, value] of this.filters) {
      if (row.cells[column].textContent !== value) return false;
    }
    if (this.words.length === 0) return true;
    const text = row.textContent.toLowerCase();
    return this.words.every((word) => text.includes(word));
  }

  ordered() {
    const rows = this.rows.filter((row) => this.matches(row));
    if (this.sorted === null) return rows;
    const { column, sign } = this.sorted;
    const collator = new Intl.Collator("en", { numeric: true });
    const keyed = rows.map((row) => [this.valueOf(row, column), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);  // what has none comes last
      return sign * (typeof a === "number" ? a - b : collator.compare(a, b));
    });
    return keyed.map(([, row]) => row);
  }

  show() {
    const rows = this.ordered();
    const pages = Math.max(1, Math.ceil(rows.length / this.size));
    const from = this.size === Infinity ? 0 : this.page * this.size;
    const visible = rows.slice(from, this.size === Infinity ? undefined : from + this.size);
    for (const row of visible) row.hidden = false;
    if (visible.length === 0) {
      const cell = element("td", { className: "empty", colSpan: this.heads.length }, "Nothing matches the filter.");
      this.body.replaceChildren(element("tr", {}, cell));
    } else {
      this.body.replaceChildren(...visible);
    }
    if (this.shown) this.shown.textContent = `${rows.length} of ${this.rows.length} rows`;
    if (!this.where) return;
    this.where.textContent = `page ${this.page + 1} of ${pages}`;
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page + 1 >= pages;
    this.all.textContent = this.size === PAGE ? "Show all" : "Show pages";
  }
}

setUpTheme();
for (const frame of document.querySelectorAll("[data-table]")) new Table(frame);
