import { call, element, follow, notice, phone, secondsOf } from "/assets/common.js";

const byId = (id) => document.getElementById(id);
const status = byId("notice");
const providers = { daraja: "M-PESA (Daraja)", africastalking: "SMS (Africa’s Talking)" };
let kinds = new Map();

async function act(done, action) {
  try {
    await action();
    notice(status, done, "good");
  } catch (error) {
    notice(status, error.message, "bad");
  }
}

function kindRow(kind) {
  const id = `value-${kind.kind.replaceAll(/[._]/g, "-")}`;
  const input = kind.value && element("input", { id, class: "value", autocomplete: "off", value: kind.value_default });
  const on = () =>
    act(`Switched on: ${kind.description}.`, () => {
      const times = byId("times").value.trim();
      if (times && !/^[1-9]\d{0,5}$/.test(times)) throw new Error("How often must be a number, or empty.");
      return call("POST", "/control/faults", {
        kind: kind.kind,
        times: times ? Number(times) : null,
        msisdn: byId("msisdn").value.trim() || null,
        value: input?.value || null,
      });
    });
  return element(
    "li",
    {},
    element("div", {}, element("p", {}, kind.description), element("code", { class: "quiet" }, kind.kind)),
    element(
      "div",
      { class: "control" },
      input && element("div", { class: "field" }, element("label", { for: id }, kind.value), input),
      element("button", { class: "plain", type: "button", "aria-label": `Switch on: ${kind.description}`, onclick: on }, "Switch on"),
    ),
  );
}

function activeRow(fault) {
  const kind = kinds.get(fault.kind);
  const limits = [
    fault.times === null ? "until switched off" : fault.times === 1 ? "once more" : `${fault.times} times more`,
    fault.msisdn ? `only ${phone(fault.msisdn)}` : null,
    fault.value === null ? null : `${kind?.value ?? "value"}: ${fault.value}`,
  ];
  const description = kind?.description ?? fault.kind;
  const off = () => act("Switched off.", () => call("DELETE", `/control/faults/${fault.id}`));
  return element(
    "li",
    {},
    element("div", {}, element("p", {}, description), element("p", { class: "quiet small" }, limits.filter(Boolean).join(" · "))),
    element("button", { class: "plain", type: "button", "aria-label": `Switch off: ${description}`, onclick: off }, "Switch off"),
  );
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text || "(empty)";
  }
}

const flows = { request: "to provider", callback: "callback", forged: "forged" };
const open = new Set();

function logRow(entry) {
  const tone = entry.status === null ? "wait" : entry.status < 400 ? "good" : "bad";
  const details = element(
    "details",
    { open: open.has(entry.id) },
    element(
      "summary",
      {},
      element("span", { class: "small quiet tabular" }, secondsOf(entry.at)),
      element("span", { class: `tag ${tone}` }, entry.status === null ? "no answer" : String(entry.status)),
      element("span", { class: "small quiet" }, flows[entry.flow]),
      element("code", { class: "target" }, `${entry.method} ${entry.target}`),
    ),
    element("div", { class: "bodies" }, element("div", {}, element("p", { class: "label" }, "Sent"), element("pre", {}, pretty(entry.request))), element("div", {}, element("p", { class: "label" }, "Answered"), element("pre", {}, pretty(entry.response)))),
  );
  details.addEventListener("toggle", () => (details.open ? open.add(entry.id) : open.delete(entry.id)));
  return element("li", {}, details);
}

function show({ faults, entries }) {
  byId("active").replaceChildren(...(faults.length ? faults.map(activeRow) : [element("li", { class: "quiet" }, "Nothing: everything works as it should.")]));
  byId("log").replaceChildren(...(entries.length ? entries.reverse().map(logRow) : [element("li", { class: "empty" }, "No call yet.")]));
}

const { kinds: list } = await call("GET", "/control/fault-kinds");
kinds = new Map(list.map((kind) => [kind.kind, kind]));
for (const [provider, name] of Object.entries(providers)) {
  const rows = list.filter((kind) => kind.kind.startsWith(`${provider}.`)).map(kindRow);
  byId("kinds").append(element("section", { class: "card" }, element("h2", {}, name), element("ul", { class: "faults" }, ...rows)));
}
follow("/control/faults/events", show, (connected) => {
  if (!connected) notice(status, "The sandbox does not answer. Trying again…", "bad");
  else if (status.textContent.startsWith("The sandbox does not")) notice(status, "");
});

const { settings } = await call("GET", "/control/settings");
byId("timeout").value = String(settings.prompt_timeout_ms / 1000);
byId("processing").value = String(settings.processing_ms);
byId("timing").addEventListener("submit", (event) => {
  event.preventDefault();
  act("Timing set.", () =>
    call("PATCH", "/control/settings", {
      prompt_timeout_ms: Math.round(Number(byId("timeout").value) * 1000),
      processing_ms: Math.round(Number(byId("processing").value)),
    }),
  );
});
byId("reset").addEventListener("click", () => {
  if (confirm("Forget all handsets, messages, payments, faults and the log?")) act("Everything is forgotten.", () => call("POST", "/control/reset"));
});
