// What the tests in real browsers share: browsers with fake cameras, people on their devices, handsets, screenshots.
import AxeBuilder from './axe.mjs';
import { chromium } from 'playwright-core';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run the tests by \`cargo xtask test\``);
  return value;
};
export const URL_BASE = need('UZIMA_URL');
export const SANDBOX = need('UZIMA_SANDBOX_URL');
export const DOCTOR = need('UZIMA_DOCTOR');
/** Another doctor in general practice, so that two tests do not take each other's times. */
export const OTHER_DOCTOR = need('UZIMA_OTHER_DOCTOR');
export const PASSWORD = need('UZIMA_PASSWORD');
const RESULTS = join(dirname(fileURLToPath(import.meta.url)), '..', 'results');

/** Everything runs on one small machine together with two video streams. */
export const WAIT_MS = 45_000;

export const PHONE = { width: 360, height: 740 };
export const DESK = { width: 1440, height: 900 };

export async function openBrowser() {
  return chromium.launch({
    executablePath: process.env.UZIMA_CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      '--auto-select-desktop-capture-source=Entire screen',
      '--autoplay-policy=no-user-gesture-required',
      // Fake media needs real ICE candidates, not mDNS names that nothing here resolves.
      '--disable-features=WebRtcHideLocalIpsWithMdns',
      '--force-prefers-reduced-motion'
    ]
  });
}

/** A person with an own device. `errors` collects what the page's console and network complain about. */
export async function person(browser, viewport, options = {}) {
  const context = await browser.newContext({
    baseURL: URL_BASE,
    viewport,
    locale: 'en-KE',
    timezoneId: 'Africa/Nairobi',
    permissions: ['camera', 'microphone'],
    isMobile: viewport.width < 600,
    hasTouch: viewport.width < 600,
    ...options
  });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  // What the page's security policy stops is a fault of the page, or an attack.
  page.on('console', (message) => {
    if (/Content Security Policy|TrustedHTML|TrustedScript/.test(message.text())) errors.push(message.text());
  });
  page.on('response', (response) => {
    if (response.status() >= 500) errors.push(`${response.status()} ${response.request().method()} ${response.url()}`);
  });
  return { context, page, errors };
}

export async function signIn(page, login, password = PASSWORD) {
  await page.goto('/sign-in');
  await page.getByLabel('Phone number, e-mail or user name').fill(login);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await arrived(page);
}

/** Waits until the sign-in is over. The clinic proposes a second factor to its staff: who refuses goes on. */
export async function arrived(page) {
  await page.waitForURL((url) => !url.pathname.startsWith('/sign-in'));
  if (new URL(page.url()).pathname !== '/set-up') return;
  await page.getByRole('button', { name: 'Not now' }).click();
  await page.waitForURL((url) => url.pathname !== '/set-up');
}

/** One request to the sandbox's control API. */
export async function sandbox(method, path, body) {
  const response = await fetch(`${SANDBOX}/control/${path}`, {
    method,
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body)
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** Waits until `look` gives something. */
export async function until(what, look, wait = WAIT_MS) {
  const end = Date.now() + wait;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`no ${what} after ${wait} ms`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The newest SMS on this handset that matches, waiting for it. */
export function sms(msisdn, pattern, notBefore = 0) {
  return until(`SMS ${pattern}`, async () => {
    const reply = await sandbox('GET', `handsets/${msisdn}/messages`);
    const messages = reply.items ?? reply.messages ?? reply;
    return messages.filter((m) => m.direction !== 'sent' && m.id > notBefore && pattern.test(m.text)).at(-1);
  });
}

/** Screenshots at both widths; the page comes back to its own. */
export async function shoot(page, name) {
  await mkdir(RESULTS, { recursive: true });
  const own = page.viewportSize();
  for (const size of [PHONE, DESK]) {
    await page.setViewportSize(size);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await page.screenshot({ path: join(RESULTS, `${name}-${size.width}.png`) });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) throw new Error(`${name} scrolls sideways by ${wide} px at ${size.width} px`);
  }
  await page.setViewportSize(own);
}

/** No serious or critical finding of axe on this page. */
export async function accessible(page, name) {
  // A dialog that is still fading in has less contrast than it will have.
  await page.evaluate(() => {
    for (const one of document.getAnimations()) if (Number.isFinite(one.effect?.getComputedTiming().endTime)) one.finish();
  });
  const findings = await AxeBuilder(page);
  const serious = findings.filter((f) => ['serious', 'critical'].includes(f.impact));
  if (serious.length > 0) {
    const words = serious.map((f) => `${f.id}: ${f.help}\n  ${f.nodes.map((n) => n.html).join('\n  ')}`);
    throw new Error(`axe on ${name}:\n${words.join('\n')}`);
  }
}

/** Names the step that failed, as the person at work would. */
export async function step(name, act) {
  try {
    return await act();
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  }
}

/** A dialog fades in; colours are measured when it stands. */
export async function stands(page) {
  await page.evaluate(() => {
    // What waits for an answer turns for ever.
    const ends = document.getAnimations().filter((one) => Number.isFinite(one.effect?.getComputedTiming().endTime));
    return Promise.all(ends.map((one) => one.finished.catch(() => {})));
  });
}
