import { call, dayOf, element, follow, money, notice, phone, timeOf } from "/assets/common.js";

const msisdn = location.pathname.split("/").pop();
const base = `/control/handsets/${msisdn}`;
const byId = (id) => document.getElementById(id);
const area = byId("messages");
const list = byId("list");
const sheet = byId("sheet");
const pin = byId("pin");

let known = new Set();
let first = true;
let openPrompt = null;
let toastTimer = 0;
const answered = new Set();

byId("number").textContent = phone(msisdn);
document.title = `${phone(msisdn)} · Uzima sandbox`;

function toast(text, stay = false) {
  clearTimeout(toastTimer);
  byId("toast").textContent = text;
  if (text && !stay) toastTimer = setTimeout(() => (byId("toast").textContent = ""), 6000);
}

/** Text with its web addresses as links: a booking or call link is there to be opened. */
function linked(text) {
  const parts = text.split(/(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)])/);
  return parts.map((part, index) =>
    index % 2 ? element("a", { href: part, target: "_blank", rel: "noopener noreferrer" }, part) : part,
  );
}

function bubble(message, isNew) {
  const kind = message.direction === "sent" ? "sent" : message.party === "MPESA" ? "mpesa" : "";
  const parts = message.parts > 1 ? ` · ${message.parts} parts` : "";
  return element(
    "li",
    { class: `message ${kind} ${isNew ? "new" : ""}`, "data-id": String(message.id) },
    element("span", { class: "party" }, message.direction === "sent" ? `To ${message.party}` : message.party === "MPESA" ? "M-PESA" : message.party),
    element("span", { class: "text" }, ...linked(message.text)),
    element("time", { class: "meta", datetime: message.at }, `${timeOf(message.at)}${parts}`),
  );
}

function showMessages(messages) {
  const ids = messages.map((message) => message.id);
  const unchanged = !first && ids.length === known.size && ids.every((id) => known.has(id));
  if (unchanged) return;
  const atEnd = area.scrollHeight - area.scrollTop - area.clientHeight < 80;
  byId("none").hidden = messages.length > 0;
  const fresh = messages.filter((message) => !known.has(message.id));
  const onlyAdded = !first && known.size > 0 && ids.slice(0, known.size).every((id) => known.has(id)) && ids.length === known.size + fresh.length;
  if (!onlyAdded) {
    list.replaceChildren();
    list.dataset.day = "";
  }
  for (const message of onlyAdded ? fresh : messages) {
    const day = dayOf(message.at);
    if (list.dataset.day !== day) {
      list.append(element("li", { class: "day" }, day));
      list.dataset.day = day;
    }
    list.append(bubble(message, !first && !known.has(message.id)));
  }
  if (first || atEnd || fresh.some((message) => message.direction === "sent")) area.scrollTop = area.scrollHeight;
  known = new Set(ids);
}

function showPrompt(prompt) {
  // A snapshot made before the answer may arrive after it.
  if (answered.has(prompt?.id)) prompt = null;
  if (prompt?.id === openPrompt?.id) return;
  const before = openPrompt;
  openPrompt = prompt;
  byId("behind").inert = Boolean(prompt);
  sheet.hidden = !prompt;
  pin.value = "";
  notice(byId("prompt-notice"), "");
  if (!prompt) {
    if (!answered.has(before.id)) toast("The request to pay has gone away: it was not answered in time.");
    area.focus({ preventScroll: true });
    return;
  }
  toast("");
  byId("prompt-business").textContent = prompt.business;
  byId("prompt-amount").textContent = money(prompt.amount_minor);
  byId("prompt-account").textContent = prompt.account;
  byId("prompt-for").textContent = prompt.description;
  tick();
  pin.focus();
}

function show(handset) {
  byId("balance").textContent = money(handset.balance_minor);
  byId("pin-now").textContent = handset.pin;
  byId("power").checked = handset.reachable;
  byId("phone").classList.toggle("off", !handset.reachable);
  byId("network").textContent = handset.reachable ? "Safaricom" : `Off${handset.held ? ` · ${handset.held} waiting` : ""}`;
  const input = byId("balance-input");
  if (document.activeElement !== input) input.value = (handset.balance_minor / 100).toFixed(2);
  showMessages(handset.messages);
  showPrompt(handset.prompt);
  first = false;
}

function tick() {
  byId("clock").textContent = timeOf(new Date());
  if (!openPrompt) return;
  const left = Math.max(0, Math.ceil((new Date(openPrompt.expires_at) - Date.now()) / 1000));
  byId("countdown").textContent = `${left} s left`;
}
setInterval(tick, 1000);
tick();

async function answer(body, waiting) {
  const prompt = openPrompt;
  if (!prompt) return;
  answered.add(prompt.id);
  showPrompt(null);
  toast(waiting, true);
  try {
    const ended = await call("POST", `${base}/prompt`, body);
    const words = { 0: `Paid. Receipt ${ended.receipt}.`, 1: "Not enough money. Nothing was taken.", 1032: "Cancelled. Nothing was taken.", 2001: "Wrong PIN. Nothing was taken." };
    toast(words[ended.result_code] ?? `Not paid (${ended.result_code}).`);
  } catch (error) {
    // Not answered after all: the next snapshot shows the request again if it is still open.
    answered.delete(prompt.id);
    toast(error.message);
  }
}

byId("prompt").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!/^\d{4}$/.test(pin.value)) {
    notice(byId("prompt-notice"), "Enter the four digits of the PIN.", "bad");
    pin.focus();
    return;
  }
  answer({ pin: pin.value }, "Sending…");
});
byId("cancel").addEventListener("click", () => answer({ cancel: true }, "Cancelling…"));
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Escape") answer({ cancel: true }, "Cancelling…");
});

byId("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { to, text } = Object.fromEntries(new FormData(event.target));
  try {
    await call("POST", `${base}/messages`, { to: to.trim(), text });
    byId("text").value = "";
  } catch (error) {
    toast(error.message);
  }
});
byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
});

/** Shillings as typed to cents without rounding; NaN when it is no amount. */
function cents(text) {
  const found = /^(\d{1,8})(?:\.(\d{1,2}))?$/.exec(text.replace(/[,\s]/g, ""));
  return found ? Number(found[1]) * 100 + Number((found[2] ?? "").padEnd(2, "0")) : NaN;
}

async function control(done, action) {
  const node = byId("panel-notice");
  try {
    await action();
    notice(node, done, "good");
  } catch (error) {
    notice(node, error.message, "bad");
  }
}

byId("balance-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const balance = cents(byId("balance-input").value);
  control("Balance set.", () => {
    if (Number.isNaN(balance)) throw new Error("Enter an amount, such as 1500 or 1500.50.");
    return call("PATCH", base, { balance_minor: balance });
  });
});
byId("pin-form").addEventListener("submit", (event) => {
  event.preventDefault();
  control("PIN set.", async () => {
    await call("PATCH", base, { pin: byId("pin-input").value });
    byId("pin-input").value = "";
  });
});
byId("power").addEventListener("change", (event) => {
  const reachable = event.target.checked;
  control(reachable ? "Switched on." : "Switched off: messages wait, requests to pay fail.", () => call("PATCH", base, { reachable }));
});
byId("paybill-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = Object.fromEntries(new FormData(event.target));
  control("Paid; the confirmation is among the messages.", async () => {
    const amount = cents(form.amount);
    if (Number.isNaN(amount)) throw new Error("Enter the amount in whole shillings.");
    await call("POST", `${base}/paybill`, { account: form.account, amount_minor: amount, pin: form.pin });
    event.target.reset();
  });
});

follow(`${base}/events`, show, (connected) => {
  if (!connected) toast("The sandbox does not answer. Trying again…", true);
  else if (byId("toast").textContent.startsWith("The sandbox does not")) toast("");
});
call("GET", "/control/settings").then(({ shortcode }) => (byId("shortcode").textContent = shortcode), () => {});
