// Asks for the next part of an operation on many tasks, unless the operator has chosen to stop.

const form = document.querySelector("form[data-continue]");
const timer = setTimeout(() => form.submit(), 200);
document.addEventListener("click", (event) => { if (event.target.closest(".cancel-link")) clearTimeout(timer); });
