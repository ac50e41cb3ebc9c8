// Files that somebody stored, opened and embedded in every way a page could: none of them runs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { byTwo, signedIn } from '../lib/api.mjs';
import { DESK, URL_BASE, openBrowser, person, signIn } from '../lib/world.mjs';

/** What each file tries, in the words of its kind: to be noticed here, by the page around it, and by a server. */
const RUN = `try{parent.__ran=1}catch(e){}try{top.__ran=1}catch(e){}try{opener.__ran=1}catch(e){}window.__ran=1;fetch('/ran');alert(1)`;
const HTML = `<!doctype html><html><head><title>x</title></head><body onload="${RUN}"><script>${RUN}</script><img src=x onerror="${RUN}"></body></html>`;
const SVG = `<svg xmlns="http://www.w3.org/2000/svg" onload="${RUN}"><script>${RUN}</script></svg>`;
const XHTML = `<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body><script>${RUN}</script></body></html>`;
const PDF = `%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.alert\\(1\\);this.submitForm\\('${URL_BASE}/ran'\\))>>>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF`;

const FILES = [
  ['text/html', HTML],
  ['application/xhtml+xml', XHTML],
  ['image/svg+xml', SVG],
  ['text/xml', `<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="data:text/xml,${encodeURIComponent(`<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/"><script>${RUN}</script></xsl:template></xsl:stylesheet>`)}"?><a/>`],
  ['application/xml', `<?xml version="1.0"?><a xmlns:h="http://www.w3.org/1999/xhtml"><h:script>${RUN}</h:script></a>`],
  ['text/javascript', RUN],
  ['application/javascript', RUN],
  ['application/json', `[(function(){${RUN}})()]`],
  // A style sheet that a page of ours were made to name would count as one; it is no script, and no page can be made to.
  ['text/css', `*{behavior:url('/ran');-moz-binding:url('/ran');width:expression(window.__ran=1)}`],
  ['application/pdf', PDF],
  ['text/plain', RUN],
  ['text/markdown', `[x](javascript:${encodeURIComponent(RUN)})\n`],
  ['text/csv', `=HYPERLINK("${URL_BASE}/ran","x")\n`],
  ['text/calendar', `BEGIN:VCALENDAR\nVERSION:2.0\nX-ALT-DESC;FMTTYPE=text/html:<script>${RUN}</script>\nEND:VCALENDAR\n`],
  ['text/vcard', `BEGIN:VCARD\nVERSION:4.0\nFN:x\nNOTE:<script>${RUN}</script>\nEND:VCARD\n`],
  ['message/rfc822', `MIME-Version: 1.0\nContent-Type: text/html\n\n${HTML}`],
  ['multipart/related', `MIME-Version: 1.0\nContent-Type: multipart/related; boundary=x\n\n--x\nContent-Type: text/html\n\n${HTML}\n--x--\n`],
  ['application/octet-stream', RUN],
  ['image/gif', `GIF89a/*<script>${RUN}</script>*/=1;${RUN}`]
];

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

test('no file that somebody stored runs', { timeout: 300_000 }, async () => {
  const run = Date.now() % 10_000_000;
  const { token: administrator } = await signedIn('admin');
  const made = await byTwo('POST', 'admin/clients', administrator, {
    name: `Files ${run}`,
    authentication: 'secret',
    scopes: ['system/*.cruds']
  });
  const granted = await fetch(`${URL_BASE}/oauth/token`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`${made.client_id}:${made.client_secret}`).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded'
    },
    body: 'grant_type=client_credentials&scope=system/*.cruds'
  });
  const { access_token: token } = await granted.json();
  assert.ok(token, `${granted.status}`);
  const stored = [];
  const refused = [];
  for (const [kind, text] of FILES) {
    const response = await fetch(`${URL_BASE}/fhir/R4/Binary`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': kind },
      body: Buffer.from(text)
    });
    const answer = await response.text();
    assert.ok([201, 400, 415, 422].includes(response.status), `${kind}: ${response.status} ${answer}`);
    if (response.status === 201) stored.push([kind, `/fhir/R4/Binary/${JSON.parse(answer).id}`]);
    else refused.push(kind);
  }
  assert.ok(stored.length >= 12, `${stored.length} kinds were stored; refused: ${refused.join(', ')}`);

  const { page, context, errors } = await person(browser, DESK);
  let dialogs = 0;
  let beacons = 0;
  context.on('dialog', (dialog) => {
    dialogs += 1;
    void dialog.dismiss();
  });
  // The page's own policy stops what follows, and tells: that is what is looked for.
  await context.route('**/ran', (route) => {
    beacons += 1;
    return route.fulfill({ status: 204 });
  });
  // Whoever may read the files: her browser asks with the program's token, and gets what the server answers.
  await context.route('**/fhir/R4/Binary/**', (route) =>
    route.continue({ headers: { ...route.request().headers(), authorization: `Bearer ${token}` } })
  );
  await signIn(page, 'reception');
  const home = page.url();
  const quiet = async (kind, how) => {
    const ran = await page.evaluate(() => window.__ran ?? 0);
    assert.deepEqual([ran, dialogs, beacons], [0, 0, 0], `${kind} ran, ${how}`);
  };
  for (const [kind, path] of stored) {
    const shown = await page.evaluate((url) => fetch(url, { headers: { accept: 'text/html' } }).then((answer) => answer.status), path);
    assert.equal(shown, 200, `${kind} can be read`);
    // As its own page, in this window and in another.
    await page.goto(path).catch((error) => assert.match(String(error), /Download is starting|ERR_ABORTED/, `${kind}: ${error}`));
    if (page.url() !== home) await page.goto(home);
    await quiet(kind, 'as a page');
    await page.evaluate((url) => void window.open(url), path);
    // Embedded in a page of ours, in each way that shows or runs something.
    await page.evaluate(async (url) => {
      const place = document.createElement('div');
      document.body.append(place);
      const add = (tag, attributes) => {
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) {
          try {
            element.setAttribute(name, value);
          } catch {
            // Trusted Types refuse some of these already.
          }
        }
        place.append(element);
      };
      add('iframe', { src: url });
      add('embed', { src: url });
      add('object', { data: url });
      add('img', { src: url });
      add('script', { src: url });
      add('script', { src: url, type: 'module' });
      add('link', { rel: 'stylesheet', href: url });
      add('link', { rel: 'manifest', href: url });
      add('video', { src: url, autoplay: '' });
      try {
        new Worker(url);
      } catch {
        // Refused.
      }
      await navigator.serviceWorker.register(url).catch(() => undefined);
      await import(url).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 150));
      place.remove();
    }, path);
    await quiet(kind, 'embedded');
    for (const other of context.pages().filter((one) => one !== page)) await other.close();
  }
  // A control: what is meant to be noticed is noticed.
  await page.evaluate(() => fetch('/ran').then(() => (window.__ran = 1)));
  assert.deepEqual([await page.evaluate(() => window.__ran), beacons], [1, 1]);
  assert.deepEqual(
    errors.filter((error) => !/Content Security Policy|Trusted/.test(error)),
    []
  );
  await context.close();
});
