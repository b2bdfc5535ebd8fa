// The key "/" goes to the search, "?" shows the keys, and a letter changes the box that names it, except where something is being written.

const search = document.getElementById("console-search-text");
const keys = document.getElementById("console-keys");

document.addEventListener("keydown", (event) => {
  const writes = event.target.closest("input, select, textarea, [contenteditable]");
  if (event.ctrlKey || event.altKey || event.metaKey || writes) return;
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
  const box = /^[a-z]$/.test(event.key) && document.querySelector(`input[type=checkbox][aria-keyshortcuts=${event.key}]`);
  if (box) box.click();
  if (event.key === "?" && keys && !keys.open) keys.showModal();
});

keys?.querySelector("button").addEventListener("click", () => keys.close());

// On a narrow window the navigation scrolls sideways: the page that is open comes into view.
const navigation = document.querySelector("#console-navigation ul");
const current = navigation?.querySelector("[aria-current]");
if (current) navigation.scrollLeft = current.offsetLeft - navigation.offsetLeft - 16;

// A wide list scrolls sideways: by keys too.
for (const rows of document.querySelectorAll("#changelist .results")) {
  rows.tabIndex = 0;
  rows.setAttribute("role", "region");
  rows.setAttribute("aria-label", "Table");
}
