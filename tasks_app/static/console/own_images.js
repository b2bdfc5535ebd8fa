// Redoc adds an image of another host to its page: no image is loaded from anywhere but here.

const isElsewhere = (address) => /^(https?:)?\/\//.test(address) && new URL(address, location.href).origin !== location.origin;
const { setAttribute } = Element.prototype;
const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");

HTMLImageElement.prototype.setAttribute = function setOwn(name, value) {
  if (name !== "src" || !isElsewhere(value)) setAttribute.call(this, name, value);
};
Object.defineProperty(HTMLImageElement.prototype, "src", {
  ...source,
  set(value) { if (!isElsewhere(value)) source.set.call(this, value); },
});
