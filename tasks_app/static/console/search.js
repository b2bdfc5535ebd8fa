// The key "/" goes to the search, except where something is being written.

document.addEventListener("keydown", (event) => {
  const box = document.getElementById("console-search-text");
  const writes = event.target.closest("input, select, textarea, [contenteditable]");
  if (event.key !== "/" || event.ctrlKey || event.altKey || event.metaKey || writes || !box) return;
  event.preventDefault();
  box.focus();
  box.select();
});
