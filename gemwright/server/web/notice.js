/** One line above the message field: what was refused or done, with a way to mend it where there is one. */

import { find, icon, make } from "./dom.js";

const bar = find("#notice");

/** Show the words, with a button of this label that does `act` if given, until the reader closes it or more is said. */
export function notice(words, label = "", act = null) {
  const agreed = () => {
    closeNotice();
    act();
  };
  const button = label && make("button", { type: "button", className: "strong", textContent: label, onclick: agreed });
  const close = make("button", { type: "button", className: "bare", "aria-label": "Close", onclick: closeNotice }, icon("close"));
  bar.hidden = false; // before the words come: a live region that was hidden says nothing
  bar.replaceChildren(make("p", { textContent: words }), ...(button ? [button] : []), close);
}

export function closeNotice() {
  bar.hidden = true;
}
