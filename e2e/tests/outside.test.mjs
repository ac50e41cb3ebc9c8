// Ways in that are not the own password: an outside provider of identities, and roles that count passkeys alone. Both
// people show again who they are when an application wants to know it anew.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { arrivedAt, authenticator, byPassword, keepCodes, pageApi } from '../lib/account.mjs';
import { api, byTwo, call, signedIn } from '../lib/api.mjs';
import { Application } from '../lib/application.mjs';
import { DESK, PHONE, accessible, arrived, openBrowser, person, shoot, stands, step, until } from '../lib/world.mjs';

/** A step-up is asked of who showed herself longer ago than this. */
const FRESH_MS = 60_000;
const OWN = 'samaki wengi ziwani leo';
const RUN = Date.now().toString(36);

let browser;
let admin;
let application;
/** Where the people of both tests sit, and when they showed who they are. */
const outside = {};
const lab = { login: `lab-${RUN}`, display: 'Peter Mutua' };

before(async () => {
  browser = await openBrowser();
  admin = (await signedIn('admin')).token;
  application = await Application.open();
  await application.register(admin, `Ward list ${RUN}`, ['openid', 'fhirUser']);
});
after(async () => {
  await browser?.close();
  application?.close();
});

/** The application asks to know anew; what the person sees is a question. */
async function askedAnew(page) {
  await page.goto(application.ask('openid fhirUser', { max_age: '1' }));
  await page.getByRole('heading', { name: 'Please confirm that it is you' }).waitFor();
  return page.getByRole('dialog');
}
async function allows(page) {
  await page.getByRole('heading', { name: `${application.name} asks`, exact: false }).waitFor();
  await page.getByRole('button', { name: 'Allow', exact: true }).click();
  await page.getByText('Back at the application').waitFor();
  return application.token();
}
/** She is at the provider, where the stand-in lets everybody be whom he picks. */
async function picks(page, name) {
  await page.waitForURL((url) => url.pathname.startsWith('/oidc/'));
  await page.getByText(name).click();
}
const isOld = (one) => until('a sign-in that is a minute old', () => Date.now() - one.since > FRESH_MS + 1_000, FRESH_MS + 10_000);

test('staff sign in at an outside provider', { timeout: 240_000 }, async () => {
  Object.assign(outside, await person(browser, DESK));
  const { page } = outside;
  await step('the wanted page leads to the sign-in, which offers the provider', async () => {
    await page.goto('/desk');
    await arrivedAt(page, '/sign-in');
    await page.getByRole('link', { name: /^Sign in with Staff login/ }).waitFor();
    await accessible(page, 'sign-in with a provider');
  });
  await step('she picks herself there and comes back to the page that she wanted', async () => {
    await page.getByRole('link', { name: /^Sign in with Staff login/ }).click();
    await picks(page, 'Amina Hassan');
    await page.waitForURL((url) => ['/desk', '/set-up'].includes(url.pathname));
    await arrived(page);
    await arrivedAt(page, '/desk');
    outside.since = Date.now();
    const me = await pageApi(page, 'GET', 'me');
    assert.equal(me.display, 'Amina Hassan');
    assert.deepEqual(me.roles, ['front-desk'], 'what the provider calls administrator is none here');
  });
  await step('what her role may not is closed to her as to everybody of it', async () => {
    await page.goto('/admin/users');
    await page.getByText('You do not have access to this').first().waitFor();
    await shoot(page, 'outside-denied');
  });
});

test('where a role counts passkeys alone, everybody of it makes one', { timeout: 240_000 }, async () => {
  const made = await byTwo('POST', 'admin/users', admin, { login: lab.login, display: lab.display, roles: ['lab', 'front-desk'], language: 'en' });
  const rules = await api('GET', 'admin/security-policy', admin);
  await api('PUT', 'admin/security-policy', admin, { ...rules, passkey_roles: ['lab'] });
  try {
    Object.assign(lab, await person(browser, PHONE));
    const { page } = lab;
    lab.keys = await authenticator(page);
    await step('his first way in leads to the one screen that he may see', async () => {
      await byPassword(page, lab.login, made.one_time_password, '?next=/desk/register');
      await page.getByLabel('The password you were given').fill(made.one_time_password);
      await page.getByLabel('New password').fill(OWN);
      await page.getByRole('button', { name: 'Save the new password' }).click();
      await page.getByText('Your role signs in by passkey only').waitFor();
      assert.equal(await page.getByRole('button', { name: /^Authenticator app/ }).count(), 0);
      assert.equal(await page.getByRole('button', { name: 'Not now' }).count(), 0);
      await accessible(page, 'only a passkey');
      await shoot(page, 'passkey-only');
      // Whatever page is asked for: it leads back here.
      await page.goto('/desk/patients');
      await page.getByText('Your role signs in by passkey only').waitFor();
    });
    await step('he makes one and goes on to what he wanted', async () => {
      await page.getByRole('button', { name: /^Passkey/ }).click();
      await page.getByRole('button', { name: 'Make a passkey' }).click();
      lab.codes = await keepCodes(page);
      await page.getByLabel('I have kept the codes').check();
      await page.getByRole('button', { name: 'Continue' }).click();
      await arrivedAt(page, '/desk/patients');
    });
    await step('the password alone is not enough any more, and the page says what is', async () => {
      await pageApi(page, 'POST', 'auth/logout', {});
      await lab.keys.touch(false);
      await byPassword(page, lab.login, OWN);
      await page.getByText('Use your fingerprint, your face or the lock of your device.').waitFor();
      assert.equal(await page.getByLabel('Code from your authenticator app').count(), 0);
      await accessible(page, 'a password where passkeys count');
      await shoot(page, 'passkey-only-password');
      const pending = await call('POST', '/api/v1/auth/login?token=true', undefined, { login: lab.login, password: OWN });
      assert.equal(pending.json.token, undefined, pending.text);
    });
    await step('who lost the device gets in by a recovery code, as far as to make another passkey', async () => {
      await page.getByRole('button', { name: 'Use a recovery code instead' }).click();
      await page.getByLabel('Recovery code').fill(lab.codes[0]);
      await page.getByRole('button', { name: 'Sign in', exact: true }).click();
      await page.getByText('Your role signs in by passkey only').waitFor();
      await shoot(page, 'passkey-only-recovery');
      const search = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
      assert.equal(await page.evaluate(async (init) => (await fetch('/api/v1/patients/search', init)).status, search), 403);
    });
    await step('the passkey opens everything', async () => {
      await pageApi(page, 'POST', 'auth/logout', {});
      await lab.keys.touch(true);
      await page.goto('/sign-in?next=/desk/register');
      // The browser may offer the passkey by itself, behind the name field.
      await page.getByRole('button', { name: 'Sign in with a passkey' }).click({ timeout: 5000 }).catch(() => undefined);
      await arrivedAt(page, '/desk/register');
      lab.since = Date.now();
    });
  } finally {
    const now = await api('GET', 'admin/security-policy', admin);
    await api('PUT', 'admin/security-policy', admin, { ...now, passkey_roles: rules.passkey_roles });
  }
});

test('both show again who they are, each in the own way', { timeout: 240_000 }, async () => {
  await step('she is led to her provider; somebody else there does not confirm her', async () => {
    await isOld(outside);
    const dialog = await askedAnew(outside.page);
    await dialog.getByText('You are led to Staff login').waitFor();
    assert.equal(await dialog.getByLabel('Password').count(), 0, 'she has none here');
    await stands(outside.page);
    await accessible(outside.page, 'step-up by a provider');
    await shoot(outside.page, 'step-up-outside');
    await dialog.getByRole('button', { name: /^Continue with Staff login/ }).click();
    await picks(outside.page, 'Peter Odhiambo');
    await dialog.getByText('The other service named somebody else').waitFor();
    await stands(outside.page);
    await shoot(outside.page, 'step-up-outside-other');
  });
  await step('as herself she comes back to the question, and the answer counts', async () => {
    await outside.page.getByRole('button', { name: /^Continue with Staff login/ }).click();
    await picks(outside.page, 'Amina Hassan');
    const token = await allows(outside.page);
    assert.ok(token.id_token);
  });
  await step('he uses his passkey', async () => {
    await isOld(lab);
    const dialog = await askedAnew(lab.page);
    await dialog.getByText('Use your fingerprint, your face or the lock of your device.').waitFor();
    assert.equal(await dialog.getByLabel('Password').count(), 0, 'a password is no step up for who has a passkey');
    await stands(lab.page);
    await accessible(lab.page, 'step-up by passkey');
    await shoot(lab.page, 'step-up-passkey');
    await dialog.getByRole('button', { name: 'Use your passkey' }).click();
    const token = await allows(lab.page);
    assert.ok(token.id_token);
  });
  assert.deepEqual([...outside.errors, ...lab.errors], []);
});
