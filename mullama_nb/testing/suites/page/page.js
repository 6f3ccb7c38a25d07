// @ts-check
/** A field of the matrix opens its panel; arrow keys go from field to field, Escape closes. */

/** @type {HTMLAnchorElement[]} */
const fields = [...document.querySelectorAll(".field > a")].filter((a) =>
  a instanceof HTMLAnchorElement
);

/** @param {HTMLAnchorElement} field */
function panelOf(field) {
  return document.getElementById(field.hash.slice(1));
}

/**
 * Show the panel of one field, or none.
 * @param {HTMLAnchorElement | undefined} chosen
 */
function open(chosen) {
  for (const field of fields) {
    const isOpen = field === chosen;
    field.setAttribute("aria-expanded", String(isOpen));
    const panel = panelOf(field);
    if (!panel || isOpen === !panel.hidden) continue;
    if (isOpen) panel.removeAttribute("hidden");
    else panel.setAttribute("hidden", "until-found");
  }
  const place = location.pathname + location.search;
  history.replaceState(null, "", chosen ? chosen.hash : place); // so that it can be linked to
  if (!chosen) return;
  panelOf(chosen)?.scrollIntoView({ block: "nearest" });
  chosen.scrollIntoView({ block: "nearest", inline: "nearest" }); // the panel may be a long one
}

/** @param {HTMLAnchorElement} field */
function isOpen(field) {
  return field.getAttribute("aria-expanded") === "true";
}

/**
 * The field that lies next to one, going over places that have none.
 * @param {HTMLAnchorElement} field
 * @param {string} key
 */
function neighbour(field, key) {
  const row = field.closest("tr");
  const place = field.closest("td")?.cellIndex ?? 0;
  const rows = [...document.querySelectorAll("tbody > tr:first-child")].filter((tr) =>
    tr instanceof HTMLTableRowElement && tr.offsetParent !== null
  );
  const across = fields.filter((each) => each.closest("tr") === row);
  const down = rows.flatMap((tr) =>
    fields.filter((each) => each.closest("tr") === tr && each.closest("td")?.cellIndex === place)
  );
  /** @type {Record<string, [HTMLAnchorElement[], number]>} */
  const ways = {
    ArrowLeft: [across, -1],
    ArrowRight: [across, 1],
    ArrowUp: [down, -1],
    ArrowDown: [down, 1],
  };
  if (!Object.hasOwn(ways, key)) return undefined;
  const [line, step] = ways[key];
  return line[line.indexOf(field) + step];
}

function openWhatIsAsked() {
  const asked = fields.find((field) => field.hash === location.hash);
  if (asked) open(asked);
}

for (const field of fields) {
  field.setAttribute("aria-expanded", "false");
  field.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(isOpen(field) ? undefined : field);
  });
  field.addEventListener("keydown", (event) => {
    const next = neighbour(field, event.key);
    if (!next || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    next.focus();
    if (isOpen(field)) open(next); // what is open goes along
  });
  // The browser shows a panel in which it found a text.
  panelOf(field)?.addEventListener("beforematch", () => open(field));
}
document.addEventListener("keydown", (event) => {
  const field = fields.find(isOpen);
  if (event.key !== "Escape" || !field) return;
  open(undefined);
  field.focus();
});
addEventListener("hashchange", openWhatIsAsked);
openWhatIsAsked();
