/** Answers under way: at most one per conversation, each going on while another conversation is shown. */

import { Trouble, answer } from "./api.js";
import { add, asked } from "./conversation.js";
import { statsOf } from "./statistics.js";
import { pictureOf, save } from "./store.js";

const SAVED_EVERY = 1000; // milliseconds, so that a reload loses at most the last words
const running = new Map(); // conversation's id → {controller, conversation, ended}
let leaving = false;

export function answering(conversation) {
  return running.has(conversation.id);
}

/** Stop the conversation's answer; resolves when it has ended. */
export async function stop(conversation) {
  const run = running.get(conversation.id);
  run?.controller.abort();
  await run?.ended;
}

/**
 * Add the model's message below `parent` and let it grow. `question` holds {model, ...sampling}, `system` the system
 * prompt or "". `hooks`: started(), grown(message), ended(message, status) with HTTP's status of a failure.
 */
export function ask(conversation, parent, question, system, hooks) {
  const message = add(conversation, parent, "assistant", { state: "streaming" });
  const controller = new AbortController();
  const run = { controller, conversation, ended: null };
  running.set(conversation.id, run);
  hooks.started();
  run.ended = listen(conversation, message, question, system, controller.signal, hooks).then((status) => {
    running.delete(conversation.id);
    keep(conversation);
    hooks.ended(message, status);
  });
}

async function listen(conversation, message, question, system, signal, hooks) {
  const times = { first: null, last: null };
  let saved = performance.now();
  let asking = saved;
  const heard = (text) => {
    const now = performance.now();
    times.last = (now - asking) / 1000;
    times.first ??= times.last;
    message.text += text;
    hooks.grown(message);
    if (now - saved > SAVED_EVERY) {
      saved = now;
      keep(conversation);
    }
  };
  try {
    const messages = await asked(conversation, message.parent, storedUrl);
    if (system) messages.unshift({ role: "system", content: system });
    asking = performance.now();
    const end = await answer({ ...question, messages }, signal, heard);
    message.state = "done";
    message.stats = statsOf({ ...times, ...end });
    return 200;
  } catch (error) {
    message.stats = statsOf(times);
    message.state = error.name === "AbortError" ? "stopped" : "failed";
    if (message.state === "stopped") return 200;
    message.trouble = error instanceof Trouble ? error.message : `The page failed: ${error.message}.`;
    return error.status ?? 0;
  }
}

async function storedUrl(picture) {
  const url = await pictureOf(picture);
  if (url) return url;
  throw new Trouble(`The browser has lost ${picture.name}. Edit the message that held it: it goes without the picture.`);
}

/** Save while an answer grows; a full storage was already told when the question was sent. */
function keep(conversation) {
  if (leaving) return;
  try {
    save(conversation);
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
  }
}

// A browser that leaves the page breaks its connections: that is no failure of the server, and is not kept as one.
addEventListener("pagehide", () => {
  for (const { conversation } of running.values()) keep(conversation);
  leaving = true;
});
addEventListener("pageshow", () => {
  leaving = false;
});
