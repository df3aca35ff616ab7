/** The list of conversations, the one changed last at the top. */

import { find, icon, make } from "./dom.js";
import { conversations } from "./store.js";
import { answering } from "./talk.js";

/** Draw it with `shown` marked; `choose` and `remove` are called with a conversation. */
export function drawList(shown, { choose, remove }) {
  const rows = conversations().map((conversation) => {
    const title = conversation.title || "Untitled";
    const busy = answering(conversation);
    const open = make("button", { type: "button", className: "open", textContent: title, title });
    open.addEventListener("click", () => choose(conversation));
    if (conversation.id === shown.id) open.setAttribute("aria-current", "true");
    const label = `Delete “${title}”`;
    const bin = make("button", { type: "button", className: "bare", "aria-label": label, title: "Delete" }, icon("close"));
    bin.addEventListener("click", () => remove(conversation));
    const sign = busy ? make("span", { className: "busy", title: "answering", role: "img", "aria-label": "answering" }) : null;
    return make("li", {}, open, sign, bin);
  });
  find("#conversations").replaceChildren(...rows);
}
