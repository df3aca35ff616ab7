/**
 * A conversation is a tree of messages: to edit or to regenerate makes a sibling, and nothing that was said is lost.
 *
 * {id, title, changed, leaf, settings, messages: {id: message}}; `leaf` ends the branch that is shown. A message is
 * {id, parent, role, text, pictures: [{id, name}], state, trouble, stats}; `state` of a model's message is "streaming",
 * "done", "stopped" (by the reader, or by a reload) or "failed" (`trouble` says why).
 */

import { freshName } from "./dom.js";

const TITLE = 60; // characters

export function freshConversation(settings) {
  return { id: freshName(), title: "", changed: Date.now(), leaf: null, settings: { ...settings }, messages: {} };
}

/** Add a message below `parent` (null: at the start) and show the branch that ends with it. */
export function add(conversation, parent, role, fields) {
  const message = { id: freshName(), parent, role, text: "", pictures: [], state: "done", ...fields };
  conversation.messages[message.id] = message;
  conversation.leaf = message.id;
  if (!conversation.title && role === "user") conversation.title = titleOf(message);
  return message;
}

function titleOf(message) {
  const text = message.text.trim().replace(/\s+/g, " ");
  if (!text) return message.pictures[0]?.name ?? "";
  return text.length > TITLE ? `${text.slice(0, TITLE - 1)}…` : text;
}

/** The messages from the first one to `end` (default: to the end of the branch that is shown). */
export function branch(conversation, end = conversation.leaf) {
  const messages = [];
  for (let id = end; id; id = conversation.messages[id].parent) messages.unshift(conversation.messages[id]);
  return messages;
}

/** The versions of a message, itself among them, the oldest first. */
export function versions(conversation, message) {
  return Object.values(conversation.messages).filter((other) => other.parent === message.parent);
}

/** Show the branch through `message`, as far as it was last continued. */
export function show(conversation, message) {
  let leaf = message;
  for (let next = leaf; next; next = Object.values(conversation.messages).findLast((one) => one.parent === leaf.id)) {
    leaf = next;
  }
  conversation.leaf = leaf.id;
}

/** Take back a model's message that nothing follows. */
export function takeBack(conversation, message) {
  delete conversation.messages[message.id];
  conversation.leaf = message.parent;
}

/**
 * The branch up to `end` as OpenAI's messages. The roles have to alternate, so an answer that never came is left out
 * and the questions around it are joined. `url(picture)` gives a picture's data URL.
 */
export async function asked(conversation, end, url) {
  const turns = [];
  for (const message of branch(conversation, end)) {
    if (message.role === "assistant" && !message.text) continue;
    const parts = [];
    for (const picture of message.pictures) parts.push({ type: "image_url", image_url: { url: await url(picture) } });
    if (message.text) parts.push({ type: "text", text: message.text });
    if (turns.at(-1)?.role === message.role) turns.at(-1).parts.push(...parts);
    else turns.push({ role: message.role, parts });
  }
  return turns.map(({ role, parts }) => ({ role, content: plain(parts) }));
}

function plain(parts) {
  const onlyText = parts.every((part) => part.type === "text");
  return onlyText ? parts.map((part) => part.text).join("\n\n") : parts;
}
