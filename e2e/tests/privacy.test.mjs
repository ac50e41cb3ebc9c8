// People's rights about their own data, in real browsers: a patient takes her copy, asks for a correction that is refused
// and states her own view, and asks to be erased; two people at the privacy desk answer. And when she has signed out, or
// her session has ended, nothing of her is left on the device.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFile } from 'node:fs/promises';
import { inflateRawSync } from 'node:zlib';
import { api, byTwo, call, registered, signedIn } from '../lib/api.mjs';
import { DESK, PHONE, accessible, openBrowser, person, shoot, signIn, step, stands } from '../lib/world.mjs';

/** Told apart from other runs on the same hospital. */
const RUN = Date.now() % 100_000;
const SECRET = 'kahawa-na-mandazi';
/** In no word of the program: whatever holds it holds this patient's data. */
const CANARY = `Kanari${RUN}wa`;

let browser;
let administrator;
const officers = [];

const patient = (number, given, family) =>
  registered({ phone: `2547${String(50_000_000 + RUN * 10 + number).padStart(8, '0')}`, given, family, password: SECRET });
async function privacyOfficer(number) {
  const login = `faragha${RUN}x${number}`;
  const made = await byTwo('POST', 'admin/users', administrator.token, {
    login,
    display: `Faragha ${number === 1 ? 'Mwangi' : 'Njeri'}`,
    roles: ['privacy-officer'],
    language: 'en'
  });
  const session = await signedIn(login, made.one_time_password);
  await api('POST', 'auth/change-password', session.token, { old_password: made.one_time_password, new_password: SECRET });
  return login;
}

before(async () => {
  browser = await openBrowser();
  administrator = await signedIn('admin');
  officers.push(await privacyOfficer(1), await privacyOfficer(2));
});
after(() => browser?.close());

/** Names and contents of a ZIP with data descriptors, by its central directory. */
function unzip(bytes) {
  const files = new Map();
  const end = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
  assert.ok(end > 0, 'no end of the central directory');
  let at = bytes.readUInt32LE(end + 16);
  const count = bytes.readUInt16LE(end + 10);
  for (let n = 0; n < count; n += 1) {
    assert.equal(bytes.readUInt32LE(at), 0x02014b50);
    const method = bytes.readUInt16LE(at + 10);
    let packed = bytes.readUInt32LE(at + 20);
    let offset = bytes.readUInt32LE(at + 42);
    const [name, extra, comment] = [28, 30, 32].map((place) => bytes.readUInt16LE(at + place));
    const title = bytes.toString('utf8', at + 46, at + 46 + name);
    // ZIP64: sizes and the offset stand in the extra field, in this order, where they are all ones.
    for (let place = at + 46 + name; place < at + 46 + name + extra; ) {
      const [id, length] = [bytes.readUInt16LE(place), bytes.readUInt16LE(place + 2)];
      let value = place + 4;
      if (id === 1) {
        if (bytes.readUInt32LE(at + 24) === 0xffffffff) value += 8;
        if (packed === 0xffffffff) {
          packed = Number(bytes.readBigUInt64LE(value));
          value += 8;
        }
        if (offset === 0xffffffff) offset = Number(bytes.readBigUInt64LE(value));
      }
      place += 4 + length;
    }
    const start = offset + 30 + bytes.readUInt16LE(offset + 26) + bytes.readUInt16LE(offset + 28);
    const content = bytes.subarray(start, start + packed);
    files.set(title, method === 8 ? inflateRawSync(content) : content);
    at += 46 + name + extra + comment;
  }
  return files;
}

/** Where the device keeps something with this word: databases, caches, storage. */
function leftovers(page, word) {
  return page.evaluate(async (wanted) => {
    const found = [];
    const has = (value) => {
      try {
        return JSON.stringify(value)?.includes(wanted) ?? false;
      } catch {
        return false;
      }
    };
    for (const { name } of await indexedDB.databases()) {
      const database = await new Promise((done, failed) => {
        const opening = indexedDB.open(name);
        opening.onsuccess = () => done(opening.result);
        opening.onerror = () => failed(opening.error);
      });
      for (const store of database.objectStoreNames) {
        const rows = await new Promise((done, failed) => {
          const reading = database.transaction(store).objectStore(store).getAll();
          reading.onsuccess = () => done(reading.result);
          reading.onerror = () => failed(reading.error);
        });
        if (has(rows)) found.push(`IndexedDB ${name}/${store}`);
      }
      database.close();
    }
    for (const key of await caches.keys()) {
      const cache = await caches.open(key);
      for (const request of await cache.keys()) {
        const text = await (await cache.match(request)).text();
        if (text.includes(wanted) || request.url.includes(wanted)) found.push(`Cache ${key} ${request.url}`);
        if (new URL(request.url).pathname.startsWith('/api/') || new URL(request.url).pathname.startsWith('/fhir/'))
          found.push(`Cache ${key} keeps ${request.url}`);
      }
    }
    for (const [name, storage] of [
      ['local', localStorage],
      ['session', sessionStorage]
    ]) {
      for (let n = 0; n < storage.length; n += 1) {
        const key = storage.key(n);
        if (`${key}${storage.getItem(key)}`.includes(wanted)) found.push(`${name} storage ${key}`);
      }
    }
    return found;
  }, word);
}

test('a patient takes her copy, is refused a correction and states her own view', { timeout: 300_000 }, async () => {
  const amina = await patient(1, 'Amina', CANARY);
  const her = await person(browser, PHONE, { acceptDownloads: true });
  const officer = await person(browser, DESK);

  await step('her data', async () => {
    await signIn(her.page, amina.login, SECRET);
    await her.page.goto('/my-data');
    await her.page.getByRole('heading', { name: 'My data', level: 1 }).waitFor();
    await her.page.getByText('You have not asked for anything yet.').waitFor();
    await accessible(her.page, 'my data');
    await shoot(her.page, 'privacy-1-my-data');
  });

  await step('the copy', async () => {
    await her.page.getByRole('button', { name: 'Make a copy' }).click();
    const fetchIt = her.page.getByRole('button', { name: 'Fetch the copy' });
    await fetchIt.waitFor();
    await shoot(her.page, 'privacy-2-copy');
    const downloading = her.page.waitForEvent('download');
    await fetchIt.click();
    const download = await downloading;
    assert.match(download.suggestedFilename(), /^my-health-record-\d{4}-\d{2}-\d{2}\.zip$/);
    const files = unzip(await readFile(await download.path()));
    assert.deepEqual([...files.keys()].sort(), ['index.html', 'record.json', 'who-saw.csv']);
    const bundle = JSON.parse(files.get('record.json').toString());
    assert.equal(bundle.resourceType, 'Bundle');
    assert.equal(bundle.entry[0].resource.id, amina.id);
    assert.ok(files.get('index.html').toString().includes('A copy of your health record'));
    // Once.
    await her.page.getByRole('button', { name: 'Make a copy' }).waitFor();
  });

  await step('the report', async () => {
    await her.page.getByRole('link', { name: 'Show the report' }).click();
    await her.page.getByRole('heading', { name: 'What is held', exact: true }).waitFor();
    await accessible(her.page, 'report');
    await shoot(her.page, 'privacy-3-report');
    await her.page.goBack();
  });

  await step('the correction', async () => {
    await her.page.getByRole('button', { name: 'Ask for a correction' }).click();
    const dialog = her.page.getByRole('dialog', { name: 'What is wrong?' });
    await dialog.getByLabel('What is it about?').selectOption({ label: 'Details about the person' });
    await dialog.getByLabel('What is wrong, and what would be right?').fill('My birthday is the fifteenth.');
    await stands(her.page);
    await accessible(her.page, 'correction');
    await shoot(her.page, 'privacy-4-correction');
    await dialog.getByRole('button', { name: 'Send the request' }).click();
    await her.page.getByRole('heading', { name: 'Correct: Details about the person' }).waitFor();
    await shoot(her.page, 'privacy-5-asked');
  });

  await step('the refusal', async () => {
    await signIn(officer.page, officers[0], SECRET);
    await officer.page.goto('/admin/privacy');
    const card = officer.page.getByRole('article').filter({ hasText: CANARY });
    await card.getByText('My birthday is the fifteenth.').waitFor();
    await accessible(officer.page, 'privacy desk');
    await shoot(officer.page, 'privacy-6-desk');
    await card.getByRole('button', { name: 'Refuse' }).click();
    const dialog = officer.page.getByRole('dialog', { name: 'Refuse the request' });
    await stands(officer.page);
    await accessible(officer.page, 'refusal');
    await dialog.getByRole('button', { name: 'Refuse' }).click();
    await dialog.getByText('Choose the ground').first().waitFor();
    await dialog.getByLabel('Ground').selectOption({ label: 'The entry is right' });
    await dialog.getByLabel('Why, in words for the patient').fill('Your identity card says the fourteenth.');
    await dialog.getByRole('button', { name: 'Refuse' }).click();
    await card.waitFor({ state: 'detached' });
  });

  await step('her statement', async () => {
    await her.page.reload();
    await her.page.getByText('Your identity card says the fourteenth.').waitFor();
    await her.page.getByRole('button', { name: 'Write a statement' }).click();
    const dialog = her.page.getByRole('dialog', { name: 'Your statement' });
    await dialog.getByLabel('What you hold against the entry').fill('The card is wrong, my mother says.');
    await dialog.getByRole('button', { name: 'Put it beside the entry' }).click();
    await her.page.getByText('The card is wrong, my mother says.').waitFor();
    await accessible(her.page, 'answered');
    await shoot(her.page, 'privacy-7-answered');
  });

  await step('nothing stays on the device', async () => {
    assert.notDeepEqual(await her.page.content().then((html) => html.includes(CANARY) || html.includes('fourteenth')), false);
    for (const path of ['/home', '/my-data', '/who-saw', '/settings']) {
      await her.page.goto(path);
      await her.page.waitForLoadState('networkidle');
    }
    // The session ends at the server: what the device does next leads to the sign-in, and leaves nothing.
    await api('POST', 'auth/logout-everywhere', amina.token, {});
    await her.page.goto('/home');
    await her.page.waitForURL(/sign-in/);
    assert.deepEqual(await leftovers(her.page, CANARY), [], 'after the end of the session');
    await signIn(her.page, amina.login, SECRET);
    await her.page.goto('/my-data');
    await her.page.getByText('The card is wrong, my mother says.').waitFor();
    await her.page.goto('/settings');
    await her.page.getByRole('button', { name: 'Sign out' }).first().click();
    await her.page.waitForURL(/sign-in/);
    assert.deepEqual(await leftovers(her.page, CANARY), [], 'after signing out');
    assert.deepEqual(await leftovers(her.page, 'The card is wrong'), [], 'after signing out');
  });
  assert.deepEqual([...her.errors, ...officer.errors], []);
  await her.context.close();
  await officer.context.close();
});

test('a record is erased by two people, and not while a hold is in force', { timeout: 300_000 }, async () => {
  const zuri = await patient(2, 'Zuri', `Futa${RUN}me`);
  const her = await person(browser, PHONE);
  const officer = await person(browser, DESK);
  const second = await person(browser, DESK);

  await step('the wish', async () => {
    await signIn(her.page, zuri.login, SECRET);
    await her.page.goto('/my-data');
    await her.page.getByRole('button', { name: 'Ask for erasure' }).click();
    const dialog = her.page.getByRole('dialog', { name: 'Ask that your record be erased' });
    await stands(her.page);
    await accessible(her.page, 'erasure');
    await shoot(her.page, 'privacy-8-erasure');
    await dialog.getByRole('button', { name: 'Ask for erasure' }).click();
    await dialog.getByText('Tick that you want it').first().waitFor();
    await dialog.getByLabel('I want my record to be erased').check();
    await dialog.getByRole('button', { name: 'Ask for erasure' }).click();
    await her.page.getByRole('heading', { name: 'Erase the record' }).waitFor();
  });

  await step('a hold', async () => {
    await signIn(officer.page, officers[0], SECRET);
    await officer.page.goto('/admin/privacy');
    await officer.page.getByRole('tab', { name: 'Legal holds' }).click();
    await officer.page.getByRole('button', { name: 'Place a hold' }).first().click();
    const dialog = officer.page.getByRole('dialog', { name: 'Place a hold' });
    await dialog.getByRole('combobox').fill(`Futa${RUN}me`);
    await dialog.getByRole('option').first().click();
    await dialog.getByLabel('Reason').fill(`Case ${RUN} of 2026, High Court`);
    await stands(officer.page);
    await accessible(officer.page, 'hold');
    await dialog.getByRole('button', { name: 'Place a hold' }).click();
    await officer.page.getByText(`Case ${RUN} of 2026, High Court`).waitFor();
    await shoot(officer.page, 'privacy-9-holds');
    await officer.page.getByRole('tab', { name: /Requests/ }).click();
    const card = officer.page.getByRole('article').filter({ hasText: `Futa${RUN}me` });
    await card.getByText('A legal hold is in force.').waitFor();
    assert.ok(await card.getByRole('button', { name: 'Agree to erasure' }).isDisabled());
    await shoot(officer.page, 'privacy-10-held');
    await officer.page.getByRole('tab', { name: 'Legal holds' }).click();
    const row = officer.page.getByRole('row').filter({ hasText: `Case ${RUN} of 2026` }).first();
    await row.getByRole('button', { name: 'Lift the hold' }).click();
    const lift = officer.page.getByRole('dialog', { name: 'Lift the hold' });
    await lift.getByLabel('Why it is not needed any more').fill('The case is over.');
    await lift.getByRole('button', { name: 'Lift the hold' }).click();
    await officer.page.getByText('The case is over.', { exact: false }).first().waitFor();
  });

  await step('one agrees', async () => {
    await officer.page.getByRole('tab', { name: /Requests/ }).click();
    await officer.page.reload();
    const card = officer.page.getByRole('article').filter({ hasText: `Futa${RUN}me` });
    await card.getByText('Nothing stands against it.').waitFor();
    await card.getByRole('button', { name: 'Agree to erasure' }).click();
    await card.getByText('You agreed. Somebody else must carry it out.').waitFor();
    await accessible(officer.page, 'agreed');
  });

  await step('another one erases', async () => {
    await signIn(second.page, officers[1], SECRET);
    await second.page.goto('/admin/privacy');
    const card = second.page.getByRole('article').filter({ hasText: `Futa${RUN}me` });
    await card.getByRole('button', { name: 'Erase for good' }).click();
    const dialog = second.page.getByRole('dialog', { name: /for good\?/ });
    await stands(second.page);
    await accessible(second.page, 'erase');
    await shoot(second.page, 'privacy-11-erase');
    await dialog.getByRole('button', { name: 'Erase for good' }).click();
    await dialog.waitFor({ state: 'detached' });
    await second.page.getByRole('tab', { name: 'Erasure' }).click();
    await second.page.getByRole('cell', { name: zuri.id }).waitFor();
    await accessible(second.page, 'tombstones');
    await shoot(second.page, 'privacy-12-erased');
  });

  await step('she is out', async () => {
    const tried = await call('POST', '/api/v1/auth/login?token=true', undefined, { login: zuri.login, password: SECRET });
    assert.ok([401, 422].includes(tried.status), tried.text);
    assert.equal((await call('GET', `/api/v1/patients/${zuri.id}`, zuri.token)).status, 401);
    const log = await call('GET', `/api/v1/admin/audit?patient_id=${zuri.id}&limit=100`, administrator.token);
    // What somebody typed to find her stands in the trail as it was typed; nothing else of her does.
    const others = JSON.stringify(log.json.items.filter((one) => !one.what.includes('_text=')));
    assert.ok(log.json.items.length > 3 && !others.includes(`Futa${RUN}me`), others);
  });

  await step('the other screens', async () => {
    for (const [tab, name] of [
      ['Retention', 'privacy-13-retention'],
      ['Recipients', 'privacy-14-recipients'],
      ['Country', 'privacy-15-country']
    ]) {
      await second.page.getByRole('tab', { name: tab }).click();
      await second.page.waitForLoadState('networkidle');
      await accessible(second.page, tab);
      await shoot(second.page, name);
    }
    await second.page.getByRole('tab', { name: 'Recipients' }).click();
    await second.page.getByRole('button', { name: 'Register a recipient' }).click();
    const dialog = second.page.getByRole('dialog', { name: 'Register a recipient' });
    await dialog.getByLabel('Name for people').fill('Ministry dashboard');
    await dialog.getByLabel('Technical name').fill(`board${RUN}.example.org`);
    await dialog.getByLabel('Country', { exact: true }).selectOption('KE');
    await stands(second.page);
    await accessible(second.page, 'recipient');
    await shoot(second.page, 'privacy-16-recipient');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await second.page.getByText(`board${RUN}.example.org`).waitFor();
  });

  await step('somebody without an account', async () => {
    await second.page.getByRole('tab', { name: /Requests/ }).click();
    await second.page.getByRole('button', { name: 'For somebody without an account' }).click();
    const dialog = second.page.getByRole('dialog', { name: 'For somebody without an account' });
    await dialog.getByRole('combobox', { name: 'Patient' }).fill(CANARY);
    await dialog.getByRole('option', { name: new RegExp(CANARY) }).first().click();
    await stands(second.page);
    await accessible(second.page, 'paper');
    await shoot(second.page, 'privacy-17-paper');
    await dialog.getByRole('button', { name: 'Show the report' }).click();
    await second.page.getByRole('heading', { name: 'What is held about a person' }).waitFor();
    await second.page.getByRole('heading', { name: 'What is held', exact: true }).waitFor();
    await accessible(second.page, 'report for somebody');
    await shoot(second.page, 'privacy-18-report');
  });
  assert.deepEqual([...her.errors, ...officer.errors, ...second.errors], []);
  await Promise.all([her.context.close(), officer.context.close(), second.context.close()]);
});
