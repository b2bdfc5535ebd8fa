// Buttons that copy a text: data-copy holds the text itself, data-copy-from the id of the element that shows it.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const source = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom).textContent : button.dataset.copy;
  const word = button.textContent;
  try {
    await navigator.clipboard.writeText(source);
    button.textContent = "copied";
  } catch {
    button.textContent = "select and copy by hand";
  }
  setTimeout(() => { button.textContent = word; }, 1500);
});
