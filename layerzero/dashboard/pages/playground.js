// A policy and a context, edited here and read by a process of its own: findings, the decision and its proof.

import { get, h, note, post, problem, replace, tree, unfold } from "./dom.js";

const QUICK = 250, THOROUGH = 1200; // milliseconds of rest until the text is read, and until all analyses run

export async function show(view) {
  const first = await get("/api/beginning");
  const brought = sessionStorage.getItem("given");
  sessionStorage.removeItem("given");
  const text = h("textarea", { id: "policy", spellcheck: "false", rows: 18, "aria-describedby": "findings-title", oninput: changed });
  const given = h("textarea", { id: "given", spellcheck: "false", rows: brought ? 8 : 3, oninput: changed });
  const kernel = h("select", { id: "not", onchange: changed }, h("option", { value: "" }, "nothing"));
  [text.value, given.value] = [sessionStorage.getItem("policy") ?? first.text, brought ?? first.given];
  const findings = h("div", { "aria-live": "polite" }), decision = h("div", {});
  const again = h("button", { type: "button", onclick: () => { text.value = first.text; changed(); } }, "begin anew");
  view.append(h("div", { class: "playground" },
    h("div", {},
      h("label", { for: "policy" }, "policy"), text,
      h("label", { for: "given" }, "context: as for ", h("code", {}, "lz explain --given"), ", or JSON"), given,
      h("p", { class: "bar" }, h("label", { class: "choice", for: "not" }, h("span", {}, "why not"), kernel), again)),
    h("div", {}, h("section", { "aria-labelledby": "findings-title" }, h("h2", { id: "findings-title" }, "Findings"), findings), h("section", { "aria-labelledby": "decision-title" }, h("h2", { id: "decision-title" }, "Decision"), decision))));
  if (first.path) view.append(note(`The text begins as ${first.path}, and may import what that file may. Nothing is saved.`));

  let quick, thorough, asking = false, waiting = null;
  function changed() {
    sessionStorage.setItem("policy", text.value);
    clearTimeout(quick);
    clearTimeout(thorough);
    quick = setTimeout(() => ask(false), QUICK);
    thorough = setTimeout(() => ask(true), THOROUGH);
  }
  async function ask(full) {
    if (asking) {
      waiting = full || waiting;
      return;
    }
    asking = true;
    const sent = text.value;
    try {
      const found = await post("/api/playground", { text: sent, given: given.value, kernel: kernel.value, full });
      if (found.problem) {
        replace(findings, problem(found.problem));
        replace(decision, note("No decision."));
      } else {
        replace(findings, listed(found, text));
        replace(decision, decided(found));
        offer(kernel, found);
      }
    } catch (error) {
      replace(findings, problem(error.message));
    }
    asking = false;
    if (waiting !== null || sent !== text.value) {
      const next = waiting ?? false;
      waiting = null;
      ask(next);
    }
  }
  ask(false);
  thorough = setTimeout(() => ask(true), THOROUGH);
  return null;
}

function listed(found, text) {
  if (!found.findings.length) return h("p", { class: "calm" }, found.full ? "No findings." : "No errors; the analyses run when the text rests.");
  return h("ol", { class: "findings" }, found.findings.slice(0, 100).map((one, place) => h("li", { class: one.severity === "error" ? "bad" : "warn" },
    h("strong", {}, `${one.severity}[${one.code}]`), " ", h("span", {}, one.message), " ",
    h("button", { type: "button", id: `finding-${place}`, class: "place", "aria-label": `go to line ${one.line}, column ${one.column}`, onclick: () => go(text, one.span) }, `${one.file}:${one.line}:${one.column}`),
    one.help && h("div", { class: "quiet" }, "help: ", one.help))));
}

function go(text, span) {
  const at = (points) => [...text.value].slice(0, points).join("").length; // code points to what a text area counts
  text.focus();
  text.setSelectionRange(at(span.start), at(span.end));
}

function decided(found) {
  if (found.context_problem) return problem(found.context_problem);
  if (!found.tree) return note(found.findings.some((one) => one.severity === "error") ? "A policy with errors decides nothing." : "Give a context.");
  const box = h("div", { class: "tree" }, tree(found.tree, "try"));
  const parts = [unfold(box), box];
  if (found.why_not) parts.unshift(h("h3", {}, "Why not"), h("div", { class: "tree" }, tree(found.why_not.tree, "try-not")), h("h3", {}, "Provenance"));
  return parts;
}

function offer(select, found) {
  if (!found.kernels) return;
  const names = found.kernels.map((one) => one.kernel).filter((name) => name !== found.kernel || name === select.value);
  if ([...select.options].slice(1).map((one) => one.value).join() === names.join()) return;
  const value = select.value;
  select.replaceChildren(h("option", { value: "" }, "nothing"), ...names.map((name) => h("option", { value: name }, name)));
  select.value = names.includes(value) ? value : "";
}
