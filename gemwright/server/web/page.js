/** The page: ties the conversation, the form that writes to it, the lists and the keyboard together. */

import { models, useKey } from "./api.js";
import { watchCache } from "./cache.js";
import { add, branch, freshConversation, show, takeBack } from "./conversation.js";
import { find } from "./dom.js";
import { drawList } from "./list.js";
import { closeNotice, notice } from "./notice.js";
import { Tray, listen } from "./pictures.js";
import * as settings from "./settings.js";
import { closeSides, openSide, sideIsOver } from "./sides.js";
import { keepPicture, load, pictureOf, remove, save, sweepPictures, watch } from "./store.js";
import { answering, ask, stop } from "./talk.js";
import * as thread from "./thread.js";

const SHOWN = "gemwright.shown"; // in sessionStorage: what this tab shows, and what was being written in it
const DRAFT = "gemwright.draft";
const LAST_SETTINGS = "gemwright.settings";

const text = find("#text");
let conversation = null;
let modelNames = [];
let redrawing = false;

const tray = new Tray(find("#tray"), { refused: notice, changed: drawComposer });
const lookAtCache = watchCache();

// ---------------------------------------------------------------------------------------------------------------------
// What is shown

function open(next) {
  conversation = next;
  sessionStorage.setItem(SHOWN, next.id);
  settings.fill(next.settings);
  thread.clearThread();
  draw();
  thread.toEnd();
}

function openFresh() {
  open(freshConversation(JSON.parse(localStorage.getItem(LAST_SETTINGS) ?? "{}")));
  text.focus();
}

function draw() {
  thread.drawThread(conversation, { edit, regenerate, retry, choose });
  drawList(conversation, { choose: (next) => (closeSides(), open(next)), remove: removeConversation });
  find("#title").textContent = conversation.title || "New conversation";
  document.title = conversation.title ? `${conversation.title} · Gemwright` : "Gemwright";
  drawComposer();
}

function drawComposer() {
  const busy = conversation !== null && answering(conversation);
  const focused = document.activeElement === find("#stop") || document.activeElement === find("#send");
  find("#send").hidden = busy;
  find("#stop").hidden = !busy;
  find("#send").disabled = !text.value.trim() && !tray.pictures.length;
  if (focused) text.focus(); // the button under the finger has changed its meaning
}

/** Save, and say so when the browser has no room. */
function keep() {
  try {
    save(conversation);
  } catch (trouble) {
    notice(trouble.message);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Asking

function send() {
  const words = text.value.trim();
  if ((!words && !tray.pictures.length) || answering(conversation) || !settingsAreValid()) return;
  const pictures = tray.empty();
  closeNotice();
  text.value = "";
  sessionStorage.removeItem(DRAFT);
  thread.grow(text);
  say(words, pictures, conversation.leaf);
}

/** Add the reader's message below `parent` and ask; the pictures have their data URLs with them. */
function say(words, pictures, parent) {
  for (const picture of pictures) keepPicture(picture).catch((trouble) => notice(trouble.message));
  const kept = pictures.map(({ id, name }) => ({ id, name }));
  const message = add(conversation, parent, "user", { text: words, pictures: kept });
  answerTo(message.id);
}

function answerTo(parent) {
  const asking = conversation;
  conversation.changed = Date.now();
  ask(conversation, parent, settings.asked(), settings.systemPrompt(), {
    started() {
      keep();
      draw();
      thread.toEnd();
      lookAtCache();
    },
    grown: drawSoon,
    ended(message, status) {
      thread.drawMessage(message);
      draw();
      if (status === 401 && asking === conversation) askForKey().then((given) => given && retry(message));
    },
  });
}

/** Redraw a growing answer once per frame, however many pieces came. */
function drawSoon(message) {
  if (redrawing) return;
  redrawing = true;
  requestAnimationFrame(() => {
    redrawing = false;
    thread.drawMessage(message);
  });
}

async function edit(message, words) {
  if (answering(conversation)) await stop(conversation);
  if (!settingsAreValid()) return;
  const urls = await Promise.all(message.pictures.map(pictureOf));
  const pictures = message.pictures.map((picture, at) => ({ ...picture, url: urls[at] })).filter(({ url }) => url);
  say(words, pictures, message.parent);
}

function regenerate(message) {
  if (answering(conversation) || !settingsAreValid()) return;
  answerTo(message.parent);
  text.focus();
}

/** Ask again in the place of an answer that failed; what it had already said stays as a version. */
function retry(message) {
  if (answering(conversation) || !settingsAreValid()) return;
  const last = conversation.leaf === message.id;
  if (!message.text && last) takeBack(conversation, message);
  answerTo(message.parent);
  text.focus();
}

function choose(message, arrow) {
  if (answering(conversation)) return;
  show(conversation, message);
  keep();
  draw();
  thread.focusOn(message, arrow);
}

function settingsAreValid() {
  if (find("#settings").checkValidity()) return true;
  openSide("right");
  return settings.valid();
}

async function removeConversation(gone) {
  await stop(gone);
  remove(gone);
  if (gone.id === conversation.id) openFresh();
  else draw();
  notice(`“${gone.title}” was deleted.`, "Undo", () => {
    open(gone);
    keep();
    draw();
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// The server's models, and its key

async function meetServer() {
  try {
    modelNames = await models();
    settings.offerModels(modelNames, conversation.settings.model);
    drawModel();
    lookAtCache();
  } catch (trouble) {
    if (trouble.status !== 401) notice(trouble.message, "Try again", meetServer);
    else if (await askForKey()) await meetServer();
  }
}

function drawModel() {
  find("#model-name").textContent = settings.asked().model;
}

/** Resolves to whether a key was given. */
function askForKey() {
  const dialog = find("#key");
  const field = find("#key-field");
  if (!dialog.open) {
    field.value = "";
    dialog.returnValue = "";
    dialog.showModal();
  }
  return new Promise((resolve) => {
    const closed = () => {
      const given = dialog.returnValue === "use" && field.value.trim();
      if (given) useKey(field.value.trim());
      if (given && !modelNames.length) meetServer();
      lookAtCache();
      resolve(Boolean(given));
    };
    dialog.addEventListener("close", closed, { once: true });
  });
}

// ---------------------------------------------------------------------------------------------------------------------
// Forms and keys

function editLast() {
  const last = branch(conversation).findLast((message) => message.role === "user");
  return last !== undefined && thread.editMessage(last);
}

text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "ArrowUp" && !text.value && !tray.pictures.length && editLast()) {
    event.preventDefault();
  }
});

text.addEventListener("input", () => {
  sessionStorage.setItem(DRAFT, text.value);
  thread.grow(text);
  drawComposer();
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "Escape" && !find("#key").open) {
    if (sideIsOver()) closeSides();
    else stop(conversation);
  } else if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && !find("#key").open) {
    event.preventDefault();
    closeSides();
    text.focus();
  }
});

find("#composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
find("#stop").addEventListener("click", () => stop(conversation));
find("#new").addEventListener("click", () => (closeSides(), openFresh()));
find("#attach").addEventListener("click", () => find("#picker").click());
listen({ text, picker: find("#picker"), take: (files) => tray.take(files) });

settings.onChange(() => {
  conversation.settings = settings.current();
  localStorage.setItem(LAST_SETTINGS, JSON.stringify(conversation.settings));
  if (conversation.leaf) keep();
  drawModel();
});

watch((id) => {
  if (id === conversation.id && !answering(conversation)) open(load(id) ?? conversation);
  else draw();
});

const shown = load(sessionStorage.getItem(SHOWN) ?? "");
text.value = sessionStorage.getItem(DRAFT) ?? "";
if (shown) open(shown);
else openFresh();
thread.grow(text);
sweepPictures();
meetServer();
