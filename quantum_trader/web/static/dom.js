// Small helpers. Whatever comes from outside becomes text, never markup: there is no innerHTML in this page.

export const byId = (id) => document.getElementById(id);

/** Make an element with attributes and children; strings become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== "") element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** Set the text only where it differs, so that screen readers hear changes and nothing else. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tone(element, value) {
  if (element.dataset.tone !== value) element.dataset.tone = value;
}

/**
 * Make the children of `parent` match `items` by key, keeping those that are there: what is focused
 * or unfolded stays so. `update(element, item)` is called for each; `create(item)` for new ones.
 */
export function match(parent, items, key, create, update = () => {}) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = known.get(name);
    if (element === undefined) {
      element = create(item);
      element.dataset.key = name;
    }
    known.delete(name);
    update(element, item);
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  for (const gone of known.values()) gone.remove();
}
