// Shared by all pages: building elements without HTML strings, formats, live data.

/** Builds an element; text children are never read as HTML. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const zone = "Africa/Nairobi";
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });
const seconds = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZone: zone });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: zone });

export const timeOf = (instant) => clock.format(new Date(instant));
export const secondsOf = (instant) => seconds.format(new Date(instant));
export const dayOf = (instant) => date.format(new Date(instant));

/** Cents as `KSh 1,500.00`. */
export function money(minor) {
  const whole = Math.trunc(Math.abs(minor) / 100).toLocaleString("en-US");
  const cents = String(Math.abs(minor) % 100).padStart(2, "0");
  return `${minor < 0 ? "−" : ""}KSh ${whole}.${cents}`;
}

/** `254712345678` as `+254 712 345 678`. */
export function phone(msisdn) {
  const kenyan = /^254(\d{3})(\d{3})(\d{3})$/.exec(msisdn);
  return kenyan ? `+254 ${kenyan[1]} ${kenyan[2]} ${kenyan[3]}` : `+${msisdn}`;
}

/** Calls the control API; a refusal becomes an Error with its text. */
export async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let answer = null;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = { error: text };
  }
  if (!response.ok) throw new Error(answer?.error ?? `The sandbox answered ${response.status}.`);
  return answer;
}

/** Follows a stream of snapshots; says when the connection is lost and when it is back. */
export function follow(path, onSnapshot, onConnection = () => {}) {
  const source = new EventSource(path);
  source.onopen = () => onConnection(true);
  source.onmessage = (event) => onSnapshot(JSON.parse(event.data));
  source.onerror = () => onConnection(false);
  addEventListener("pagehide", () => source.close());
}

/** Shows a sentence in a live region. */
export function notice(node, text, tone = "") {
  node.className = `notice ${tone}`;
  node.textContent = text;
}
