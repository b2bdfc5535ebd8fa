// A picture that cannot be loaded, such as one that went away since the page was made, is replaced by words.

function replace(image) {
  const words = document.createElement("span");
  words.className = "no-picture";
  words.textContent = `${image.alt || "The picture"} cannot be read: reload the page to see why`;
  image.replaceWith(words);
}

document.addEventListener("error", (event) => { if (event.target instanceof HTMLImageElement) replace(event.target); }, true);
for (const image of document.querySelectorAll("#content img")) if (image.complete && image.naturalWidth === 0 && image.loading !== "lazy") replace(image);
