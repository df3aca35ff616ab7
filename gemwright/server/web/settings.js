/** The side panel's form: model, system prompt and sampling. A field left empty is not sent: the model's own holds. */

import { find, make } from "./dom.js";

const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];
const FIELDS = ["model", "system", ...NUMBERS];

const form = find("#settings");

/** The fields as text, as they stand: what a conversation keeps. */
export function current() {
  return Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
}

export function fill(settings) {
  for (const name of FIELDS) {
    if (name !== "model") form.elements[name].value = settings[name] ?? "";
    else if (hasModel(settings.model)) form.elements.model.value = settings.model;
  }
}

function hasModel(name) {
  return [...form.elements.model.options].some((option) => option.value === name);
}

/** Offer these models; `chosen` stays chosen if it is among them. */
export function offerModels(names, chosen) {
  form.elements.model.replaceChildren(...names.map((name) => make("option", { value: name, textContent: name })));
  if (names.includes(chosen)) form.elements.model.value = chosen;
}

/** Whether every number is one; otherwise the browser shows the first that is not, and says what is wrong with it. */
export function valid() {
  return form.reportValidity();
}

/** Model and sampling as the request's fields. */
export function asked() {
  const numbers = NUMBERS.map((name) => [name, form.elements[name].valueAsNumber]);
  return { model: form.elements.model.value, ...Object.fromEntries(numbers.filter(([, value]) => !Number.isNaN(value))) };
}

export function systemPrompt() {
  return form.elements.system.value.trim();
}

export function onChange(changed) {
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
}
