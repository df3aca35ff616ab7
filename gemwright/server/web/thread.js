/** The messages of the branch that is shown, as elements; each is redrawn only when its own message changes. */

import { copy, find, icon, make } from "./dom.js";
import { branch, versions } from "./conversation.js";
import { render } from "./markdown.js";
import { pictureOf } from "./store.js";
import { statistics } from "./statistics.js";

const NEAR = 80; // pixels from the end within which the reader is taken to follow the answer

const list = find("#thread");
const scroller = find("#scroller");
const spoken = find("#spoken");
const latest = find("#latest");
let views = new Map();
let following = true; // whether the reader is at the end, and wants to stay there
let top = 0; // where the thread stood at the last scrolling

/**
 * `actions` are what the buttons do: edit(message, text), regenerate(message), retry(message),
 * choose(message, version).
 */
export function drawThread(conversation, actions) {
  const messages = branch(conversation);
  const next = new Map();
  for (const message of messages) {
    next.set(message.id, views.get(message.id) ?? newView(message, conversation, actions));
  }
  views = next;
  const elements = [...views.values()].map((view) => view.element);
  const changed = elements.length !== list.children.length || elements.some((one, at) => list.children[at] !== one);
  if (changed) list.replaceChildren(...elements);
  for (const message of messages) views.get(message.id).draw();
  find("#empty").hidden = messages.length > 0;
}

/** Forget the elements: another conversation is about to be shown. */
export function clearThread() {
  views = new Map();
  list.replaceChildren();
}

/** Redraw one message, if it is shown. */
export function drawMessage(message) {
  views.get(message.id)?.draw();
}

export function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
  top = scroller.scrollTop;
  following = true;
  latest.hidden = true;
}

function atEnd() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR;
}

// Only a reader scrolls up: an answer that has grown since the last frame leaves the place where it was.
scroller.addEventListener("scroll", () => {
  const up = scroller.scrollTop < top;
  top = scroller.scrollTop;
  following = atEnd() || (following && !up);
  latest.hidden = following;
});

// Whatever makes the thread longer or its window smaller, a reader at the end stays there.
const resized = new ResizeObserver(() => {
  if (following) toEnd();
  else latest.hidden = atEnd();
});
resized.observe(scroller);
resized.observe(list);
latest.addEventListener("click", toEnd);

/** Begin to edit the message; false if it is not shown. */
export function editMessage(message) {
  const view = views.get(message.id);
  view?.edit();
  return Boolean(view);
}

/** Put the focus on a message's button of this name (an arrow between versions), where it has one. */
export function focusOn(message, name) {
  views.get(message.id)?.element.querySelector(`[data-name=${name}]:not(:disabled)`)?.focus();
}

function newView(message, conversation, actions) {
  const body = make("div", { className: "says" });
  const foot = make("div", { className: "foot" });
  const who = make("h2", { className: "unseen", textContent: message.role === "user" ? "You" : "The model" });
  const element = make("li", { className: `message ${message.role}` }, who, body, foot);
  element.dataset.id = message.id;
  const view = { element, body, foot, message, conversation, actions, said: 0, edit: () => drawEditor(view) };
  if (message.role === "user") {
    body.append(...userParts(message));
    view.draw = () => drawFoot(view, element.classList.contains("editing") ? null : () => userFoot(view));
  } else {
    view.said = message.state === "streaming" ? 0 : Infinity; // what was said before is not said again
    view.draw = () => drawAnswer(view);
  }
  return view;
}

// ---------------------------------------------------------------------------------------------------------------------
// The reader's messages

function userParts(message) {
  const parts = [];
  if (message.pictures.length) {
    parts.push(make("ul", { className: "thumbnails", "aria-label": "Pictures" }, ...message.pictures.map(thumbnail)));
  }
  if (message.text) parts.push(make("p", { className: "plain", textContent: message.text }));
  return parts;
}

function thumbnail(picture) {
  const image = make("img", { alt: picture.name, title: picture.name });
  const item = make("li", {}, image);
  pictureOf(picture).then((url) => {
    if (url) image.src = url;
    else item.replaceChildren(make("span", { className: "lost", textContent: `${picture.name}: no longer stored` }));
  });
  return item;
}

function userFoot(view) {
  return [arrows(view), action("edit", "Edit", view.edit), copier(view)];
}

function drawEditor(view) {
  const { message, actions, body, foot, element } = view;
  const text = make("textarea", { value: message.text, "aria-label": "Edit the message", rows: 2 });
  const close = () => {
    element.classList.remove("editing");
    body.replaceChildren(...userParts(message));
    view.draw();
    find("#text").focus();
  };
  const send = () => {
    if (text.value.trim() || message.pictures.length) {
      close();
      actions.edit(message, text.value.trim());
    }
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation(); // it closes the editor and stops nothing else
      close();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  text.addEventListener("input", () => grow(text));
  element.classList.add("editing");
  view.draw();
  body.replaceChildren(...userParts({ ...message, text: "" }), text);
  foot.replaceChildren(
    make("button", { type: "button", className: "strong", textContent: "Send again", onclick: send }),
    make("button", { type: "button", className: "quiet", textContent: "Cancel", onclick: close }),
  );
  grow(text);
  text.focus();
  text.setSelectionRange(text.value.length, text.value.length);
}

/** As tall as its text, up to what the style sheet allows. */
export function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

// ---------------------------------------------------------------------------------------------------------------------
// The model's messages

function drawAnswer(view) {
  const { message, body, element } = view;
  const streaming = message.state === "streaming";
  element.classList.toggle("streaming", streaming);
  element.setAttribute("aria-busy", streaming);
  const blocks = render(body, message.text);
  speak(view, blocks, streaming);
  drawFoot(view, () => {
    if (streaming) return message.text ? [] : [make("p", { className: "waiting", textContent: "Reading" })];
    const empty = message.state === "done" && !message.text;
    const words = empty ? make("p", { className: "nothing", textContent: "The answer is empty." }) : null;
    return [message.state === "failed" ? trouble(view) : null, words, facts(message), buttons(view)];
  });
}

/** Build what stands below a message, unless it would be the same again: buttons keep the focus, alerts sound once. */
function drawFoot({ message, conversation, foot }, build) {
  const all = versions(conversation, message);
  const state = [message.state, message.text === "", all.indexOf(message), all.length, build === null].join();
  if (foot.dataset.state === state) return;
  foot.dataset.state = state;
  if (build) foot.replaceChildren(...build().filter(Boolean));
}

/** Screen readers hear whole blocks, each once, and not every token. */
function speak(view, blocks, streaming) {
  const whole = streaming ? blocks.length - 1 : blocks.length;
  if (view.said === Infinity || whole <= view.said) return;
  if (view.said === 0) spoken.replaceChildren();
  spoken.append(...blocks.slice(view.said, whole).map((source) => make("p", { textContent: source })));
  view.said = whole;
}

function trouble({ message, actions }) {
  const again = () => actions.retry(message);
  const button = make("button", { type: "button", className: "strong", textContent: "Try again", onclick: again });
  return make("div", { className: "trouble", role: "alert" }, make("p", { textContent: message.trouble }), button);
}

function facts(message) {
  const words = statistics(message);
  if (!words.length) return null;
  return make("ul", { className: "facts", "aria-label": "About this answer" }, ...words.map((text) => make("li", {}, text)));
}

function buttons(view) {
  const { message, actions } = view;
  const failed = message.state === "failed";
  const again = failed ? null : action("regenerate", "Regenerate", () => actions.regenerate(message));
  return make("div", { className: "buttons" }, arrows(view), again, message.text ? copier(view) : null);
}

function copier({ message }) {
  const button = action("copy", "Copy", () => copy(message.text, button));
  return button;
}

function action(name, label, onclick) {
  const button = make("button", { type: "button", className: "quiet", textContent: label, onclick });
  button.dataset.name = name;
  return button;
}

/** "2 / 3" with an arrow to either side, where a message has more than one version. */
function arrows({ message, conversation, actions }) {
  const all = versions(conversation, message);
  if (all.length < 2) return null;
  const at = all.indexOf(message);
  const arrow = (name, label, to) => {
    const properties = { type: "button", className: "quiet arrow", "aria-label": label, title: label, disabled: !all[to] };
    const button = make("button", { ...properties, onclick: () => actions.choose(all[to], name) }, icon(name));
    button.dataset.name = name;
    return button;
  };
  const count = make("span", { className: "count", textContent: `${at + 1} / ${all.length}` });
  const parts = [arrow("left", "Earlier version", at - 1), count, arrow("right", "Later version", at + 1)];
  return make("span", { className: "versions", role: "group", "aria-label": "Versions" }, ...parts);
}
