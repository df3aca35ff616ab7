/** What the browser keeps: conversations in localStorage, one entry each, and their pictures in IndexedDB. */

import { Trouble } from "./api.js";

const PREFIX = "gemwright.conversation.";
const open = new Map(); // conversations in use: one object each, so that an answer finds the one that is shown

/** Every stored conversation, the one changed last first. Entries that are no conversation are passed over. */
export function conversations() {
  const names = Array.from({ length: localStorage.length }, (_, index) => localStorage.key(index));
  const found = names.filter((name) => name.startsWith(PREFIX)).map((name) => load(name.slice(PREFIX.length)));
  return found.filter(Boolean).sort((a, b) => b.changed - a.changed);
}

export function load(id) {
  if (open.has(id)) return open.get(id);
  try {
    const conversation = JSON.parse(localStorage.getItem(PREFIX + id));
    if (!conversation?.messages) return null;
    for (const message of Object.values(conversation.messages)) {
      if (message.state === "streaming") message.state = "stopped"; // the page was left in the middle of it
    }
    open.set(id, conversation);
    return conversation;
  } catch {
    return null;
  }
}

/** Throws Trouble when the browser's storage is full. */
export function save(conversation) {
  open.set(conversation.id, conversation);
  try {
    localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
  } catch {
    throw new Trouble("The browser's storage is full: this conversation will not survive a reload. Delete old ones.");
  }
}

export function remove(conversation) {
  open.delete(conversation.id);
  localStorage.removeItem(PREFIX + conversation.id);
}

/** Calls `changed(id)` when another tab has saved or removed a conversation. */
export function watch(changed) {
  addEventListener("storage", ({ key }) => {
    if (!key?.startsWith(PREFIX)) return;
    const id = key.slice(PREFIX.length);
    open.delete(id);
    changed(id);
  });
}

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("gemwright", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("pictures");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function pictures(mode, use) {
  const base = await database();
  try {
    const transaction = base.transaction("pictures", mode);
    const asked = use(transaction.objectStore("pictures"));
    return await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onerror = () => reject(transaction.error);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    base.close();
  }
}

const recent = new Map(); // data URLs by picture: a private window may have no database at all

/** Keep a picture {id, url}. Throws Trouble if the browser cannot; until a reload it is there all the same. */
export async function keepPicture({ id, url }) {
  recent.set(id, url);
  try {
    await pictures("readwrite", (store) => store.put(url, id));
  } catch {
    throw new Trouble("The browser cannot keep this picture: it will be missing after a reload.");
  }
}

/** The data URL of a picture, or null when the browser has lost it. */
export async function pictureOf({ id }) {
  if (recent.has(id)) return recent.get(id);
  const url = (await pictures("readonly", (store) => store.get(id)).catch(() => null)) ?? null;
  if (url) recent.set(id, url);
  return url;
}

/** Forget the pictures that no conversation holds any more; done at the start, so that a deletion can be undone. */
export async function sweepPictures() {
  const messages = conversations().flatMap((conversation) => Object.values(conversation.messages));
  const held = new Set(messages.flatMap((message) => message.pictures.map((picture) => picture.id)));
  const ids = await pictures("readonly", (store) => store.getAllKeys()).catch(() => []);
  const lost = ids.filter((id) => !held.has(id));
  if (lost.length) await pictures("readwrite", (store) => lost.map((id) => store.delete(id)).at(-1)).catch(() => null);
}
