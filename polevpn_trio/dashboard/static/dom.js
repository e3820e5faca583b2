// Builds elements, and changes what is on the page into them. Text is always text, never markup:
// much of what is shown was sent by sites.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child);
  }
  return element;
}

export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

const HANDLERS = ["onclick", "oninput", "onsubmit", "onchange"];

// Makes the children of `parent` be like `wanted`, and leaves alone what is the same already: so
// focus, selection and scroll positions survive the news. Elements with `data-key` are found again
// wherever they went; what is inside an element with `data-keep` belongs to somebody else.
export function show(parent, ...wanted) {
  const target = document.createDocumentFragment();
  target.append(...wanted.flat(3).filter((node) => node !== null && node !== undefined));
  patch(parent, target);
}

function patch(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) {
    if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
  }
  let at = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    const key = next.dataset?.key;
    let old = key === undefined ? at : keyed.get(key) ?? at;
    if (old && key !== undefined && old.dataset?.key !== key) old = null;
    if (old && key === undefined && old.dataset?.key !== undefined) old = null;
    if (old && old.nodeType === next.nodeType && old.nodeName === next.nodeName) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      become(old, next);
    } else {
      parent.insertBefore(next, at);
    }
  }
  while (at) {
    const following = at.nextSibling;
    at.remove();
    at = following;
  }
}

function become(old, next) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!next.hasAttribute(name) && !(old.hasAttribute("data-keep") && name === "class")) {
      old.removeAttribute(name);
    }
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const handler of HANDLERS) {
    if (old[handler] !== next[handler]) old[handler] = next[handler];
  }
  if (!old.hasAttribute("data-keep")) patch(old, next);
}
