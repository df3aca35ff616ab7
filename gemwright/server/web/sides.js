/** The two side columns: beside the conversation where the window is wide enough, over it where it is not. */

import { find } from "./dom.js";

const SIDES = {
  left: { element: find("#list"), wide: matchMedia("(min-width: 54rem)") },
  right: { element: find("#panel"), wide: matchMedia("(min-width: 76rem)") },
};

/** Whether a column lies over the conversation now. */
export function sideIsOver() {
  return Object.keys(SIDES).some((side) => document.body.classList.contains(`${side}-over`));
}

/** Close what lies over the conversation, and give the focus back to the button that opened it. */
export function closeSides() {
  const over = Object.keys(SIDES).filter((side) => document.body.classList.contains(`${side}-over`));
  for (const side of over) document.body.classList.remove(`${side}-over`);
  tell();
  if (over.length) opener(over[0]).focus();
}

export function openSide(side) {
  const { wide, element } = SIDES[side];
  if (wide.matches) {
    document.body.classList.remove(`${side}-shut`);
  } else {
    closeSides();
    document.body.classList.add(`${side}-over`);
    element.querySelector("button, input, select, textarea").focus();
  }
  tell();
}

function toggle(side) {
  const { wide } = SIDES[side];
  if (!isOpen(side)) openSide(side);
  else if (wide.matches) document.body.classList.add(`${side}-shut`);
  else closeSides();
  tell();
}

function isOpen(side) {
  const { classList } = document.body;
  return SIDES[side].wide.matches ? !classList.contains(`${side}-shut`) : classList.contains(`${side}-over`);
}

function opener(side) {
  return find(`header [data-side=${side}]`);
}

/** Tell screen readers what is open, and keep the keyboard out of what is covered. */
function tell() {
  for (const side of Object.keys(SIDES)) opener(side).setAttribute("aria-expanded", isOpen(side));
  find("#main").inert = sideIsOver();
}

for (const button of document.querySelectorAll("button[data-side]")) {
  button.addEventListener("click", () => toggle(button.dataset.side));
}
for (const { wide } of Object.values(SIDES)) wide.addEventListener("change", closeSides);
find("#scrim").addEventListener("click", closeSides);
tell();
