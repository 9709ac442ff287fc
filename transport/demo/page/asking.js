// @ts-check
/** A question of an agent to its user, with a form for the answer. */
import { button, element } from "./dom.js";
import { brief } from "./values.js";
import { refusalWords } from "./words.js";

/**
 * @typedef {import("./store.js").Question} Question
 * @typedef {import("./dom.js").View<Question>} QuestionView
 * @typedef {(runId: string, callId: string, value: any) => Promise<void>} Answer
 */

/** @param {Question} question @param {Answer} answer @returns {QuestionView} */
export function questionView(question, answer) {
  const { run, id, prompt, schema } = question;
  const outcome = element("p", "outcome");
  const fault = element("p", "fault");
  const form = answerForm(prompt, schema, async (value) => {
    form.inert = true;
    fault.textContent = "";
    try {
      await answer(run, id, value);
    } catch (/** @type {any} */ error) {
      form.inert = false;
      fault.textContent = refusalWords(error);
    }
  });
  const node = element("section", "cue ask", element("p", "hint", prompt), form, fault, outcome);
  node.dataset.call = id;
  node.setAttribute("aria-label", "The agent asks you");
  return {
    node,
    update(/** @type {Question} */ now) {
      node.dataset.status = outcomeOf(now);
      outcome.textContent = now.status === "answered" ? `Answer: ${brief(now.value)}` : now.status === "withdrawn" ? "No answer needed any more" : "";
      if (now.status !== "open") form.remove();
      if (now.status !== "open") fault.remove();
    },
  };
}

/** Return the status that a question has on the page. @param {Question} question */
export function outcomeOf({ status, reason }) {
  if (status === "open") return "open";
  if (status === "answered") return "ok";
  return reason === "ok" || !reason ? "cancelled" : reason; // its run ended well without the answer
}

/**
 * Return a form with a button for each choice that the schema allows, or with a field.
 *
 * @param {string} prompt @param {any} schema @param {(value: any) => void} send
 */
function answerForm(prompt, schema, send) {
  const form = element("form", "reply-form");
  const choices = Array.isArray(schema?.enum) ? schema.enum : schema?.type === "boolean" ? [true, false] : undefined;
  if (choices) {
    for (const choice of choices) form.append(button("", labelOf(choice), () => send(choice)));
    return form;
  }
  const input = element("input");
  const isNumber = schema?.type === "number" || schema?.type === "integer";
  input.required = true;
  input.setAttribute("aria-label", prompt);
  if (isNumber) Object.assign(input, { type: "number", step: schema.type === "integer" ? "1" : "any" });
  form.append(input, element("button", "primary", "Answer"));
  form.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    send(isNumber ? input.valueAsNumber : input.value);
  });
  return form;
}

/** @param {any} choice */
function labelOf(choice) {
  return choice === true ? "Yes" : choice === false ? "No" : brief(choice) || JSON.stringify(choice);
}
