import { element, follow, money, notice, phone, timeOf } from "/assets/common.js";

const list = document.getElementById("handsets");
const empty = document.getElementById("empty");
const more = document.getElementById("more");
const connection = document.getElementById("connection");

function card(handset) {
  const last = handset.last_message;
  return element(
    "li",
    {},
    element(
      "a",
      { href: `/handset/${handset.msisdn}` },
      element(
        "span",
        { class: "top" },
        element("strong", { class: "tabular" }, phone(handset.msisdn)),
        element("span", { class: "quiet small tabular" }, last ? timeOf(last.at) : ""),
      ),
      handset.prompt && element("span", {}, element("span", { class: "tag wait" }, `Asks for ${money(handset.prompt.amount_minor)}`)),
      !handset.reachable && element("span", {}, element("span", { class: "tag bad" }, "Switched off")),
      element("span", { class: "snippet quiet" }, last ? `${last.direction === "sent" ? "To " : ""}${last.party}: ${last.text}` : "No messages"),
      element("span", { class: "small quiet tabular" }, `M-PESA ${money(handset.balance_minor)}`),
    ),
  );
}

follow(
  "/control/events",
  ({ total, handsets }) => {
    const focused = document.activeElement?.getAttribute?.("href");
    list.replaceChildren(...handsets.map(card));
    if (focused) list.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
    empty.hidden = total > 0;
    more.hidden = total <= handsets.length;
    more.textContent = `${handsets.length} of ${total} handsets; open the others by their number.`;
  },
  (connected) => notice(connection, connected ? "" : "The sandbox does not answer. Trying again…", "bad"),
);

document.getElementById("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = new FormData(event.target).get("number");
  const digits = text.replace(/[\s()+-]/g, "").replace(/^0(?=\d{9}$)/, "254");
  if (/^[1-9]\d{7,14}$/.test(digits)) location.href = `/handset/${digits}`;
  else notice(document.getElementById("open-notice"), "Enter a phone number, such as 0712 345 678 or +254 712 345 678.", "bad");
});
