// The own account in real browsers: invitations, passkeys by Chromium's virtual authenticator, authenticator apps,
// recovery codes, forced changes, step-up, sessions that end elsewhere, and a tablet that several people share.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { arrivedAt, authenticator, byPassword, keepCodes, pageApi as api } from '../lib/account.mjs';
import { agree, totp } from '../lib/api.mjs';
import { accessible, arrived, DESK, openBrowser, person, PHONE, PASSWORD, shoot, signIn, sms, URL_BASE } from '../lib/world.mjs';

let browser;
let admin;
const opened = [];
const NURSE = { login: `nurse-${Date.now().toString(36)}`, display: 'Grace Wambui', password: 'mti mkubwa kando ya mto' };
const PRACTITIONER = { given: 'Grace', family: 'Wambui', specialty_codes: ['general-practice'], languages: ['en', 'sw'] };
let secret = '';
let codes = [];

before(async () => {
  browser = await openBrowser();
  admin = await someone(DESK);
  await signIn(admin.page, 'admin');
});
after(async () => {
  for (const { page } of process.env.DEBUG ? opened : []) {
    if (!page.isClosed()) console.error(page.url(), await page.evaluate(() => document.body.innerText.slice(0, 400)).catch(String));
  }
  await browser?.close();
});

async function someone(viewport, options) {
  const found = await person(browser, viewport, options);
  opened.push(found);
  return found;
}
/** What the administrator's page asks for takes two people: the second one agrees, and the page fetches what came of it. */
async function byTwo(method, path, body) {
  const asked = await api(admin.page, method, path, body);
  await agree(asked.id);
  return await api(admin.page, 'POST', `admin/account-changes/${asked.id}/collect`, {});
}
test('an invited nurse chooses a password and a passkey', async () => {
  const made = await byTwo('POST', 'admin/users/invitations', {
    user: { login: NURSE.login, display: NURSE.display, roles: ['nurse'], language: 'en', practitioner: PRACTITIONER },
    by: 'shown'
  });
  const { link } = made;
  assert.match(link, /\/welcome#/);

  const nurse = await someone(PHONE);
  const { page } = nurse;
  NURSE.page = page;
  NURSE.keys = await authenticator(page);
  await page.goto(`/welcome${link.slice(link.indexOf('#'))}`);
  await page.getByRole('heading', { name: `Welcome, ${NURSE.display}` }).waitFor();
  assert.ok(await page.getByText(NURSE.login, { exact: true }).isVisible());
  await accessible(page, 'welcome');
  await shoot(page, 'welcome');
  await page.getByLabel('New password').fill('password');
  await page.getByRole('button', { name: 'Save and sign in' }).click();
  await page.getByText('easy to guess').first().waitFor();
  await page.getByLabel('New password').fill(NURSE.password);
  await page.getByRole('button', { name: 'Save and sign in' }).click();

  await page.getByRole('heading', { name: 'A second way to show that it is you' }).waitFor();
  await accessible(page, 'set-up choice');
  await shoot(page, 'set-up-choice');
  await page.getByRole('button', { name: /^Passkey/ }).click();
  await page.getByLabel('Name of this passkey').fill('My phone');
  await shoot(page, 'set-up-passkey');
  await page.getByRole('button', { name: 'Make a passkey' }).click();
  codes = await keepCodes(page);
  await accessible(page, 'recovery codes');
  await shoot(page, 'recovery-codes');
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText('Keep the codes first').waitFor();
  await page.getByLabel('I have kept the codes').check();
  await page.getByRole('button', { name: 'Continue' }).click();
  await arrivedAt(page, '/clinic');

  // The link works once.
  const other = await someone(PHONE);
  await other.page.goto(`/welcome${link.slice(link.indexOf('#'))}`);
  await other.page.getByRole('heading', { name: 'This link does not work any more' }).waitFor();
  await accessible(other.page, 'used link');
  await shoot(other.page, 'welcome-gone');
  await other.context.close();
});

test('she sets up an authenticator app and sees where she is signed in', async () => {
  const { page } = NURSE;
  await page.goto('/account');
  await page.getByRole('heading', { name: 'Account and security' }).waitFor();
  await page.getByText('My phone').waitFor();
  await page.getByRole('button', { name: 'Set it up' }).click();
  secret = (await page.locator('code.secret').textContent()).trim();
  assert.match(secret.replace(/\s/g, ''), /^[A-Z2-7]{16,}$/);
  await page.locator('.scan img').scrollIntoViewIfNeeded();
  await accessible(page, 'authenticator app');
  await shoot(page, 'account-totp');
  await page.getByLabel('Code from your authenticator app').fill('000000');
  await page.getByRole('button', { name: 'Confirm the code' }).click();
  await page.getByText('works once and for 30 seconds').first().waitFor();
  await page.getByLabel('Code from your authenticator app').fill(totp(secret));
  await page.getByRole('button', { name: 'Confirm the code' }).click();
  await page.getByText('Set up since').waitFor();
  assert.ok(await page.getByText('10 of 10 left').isVisible());

  await page.getByRole('button', { name: 'Rename My phone' }).click();
  await page.getByRole('dialog').getByLabel('Name of this passkey').fill('Red phone');
  await page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await page.getByText('Red phone').waitFor();
  assert.ok(await page.getByText('This device', { exact: true }).isVisible());
  await accessible(page, 'account and security');
  await page.evaluate(() => scrollTo(0, 0));
  await shoot(page, 'account');
  await page.getByRole('heading', { name: 'Where you are signed in' }).scrollIntoViewIfNeeded();
  await shoot(page, 'account-sessions');
});

test('she signs in by passkey alone, by code and by recovery code', async () => {
  const { page } = NURSE;
  await NURSE.keys.touch(false);
  await page.getByRole('button', { name: 'Account' }).click();
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await arrivedAt(page, '/sign-in');
  await accessible(page, 'sign-in');
  await shoot(page, 'sign-in');
  // Who guesses waits, and is told how long.
  await page.getByLabel('Phone number, e-mail or user name').fill(`nobody-${Date.now()}`);
  for (let tries = 0; tries < 7 && !(await page.getByText('You can try again').isVisible()); tries += 1) {
    await page.getByLabel('Password', { exact: true }).fill('not the password');
    const answer = page.waitForResponse((response) => response.url().includes('/auth/login'));
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await answer;
    await page.getByRole('alert').first().waitFor();
  }
  await page.getByText('You can try again').waitFor();
  await accessible(page, 'throttled');
  await shoot(page, 'sign-in-throttled');
  await NURSE.keys.touch(true);
  await page.goto('/sign-in?next=/clinic/patients');
  // The browser may offer the passkey by itself, behind the name field.
  const button = page.getByRole('button', { name: 'Sign in with a passkey' });
  await button.click({ timeout: 5000 }).catch(() => undefined);
  await arrivedAt(page, '/clinic/patients');

  await NURSE.keys.touch(false);
  await api(page, 'POST', 'auth/logout', {});
  await byPassword(page, NURSE.login, NURSE.password, '?next=/clinic/calendar');
  await page.getByText('One more step keeps others out').waitFor();
  await accessible(page, 'second factor');
  await shoot(page, 'sign-in-second');
  await page.getByRole('button', { name: 'Use a code from the app instead' }).click();
  await page.getByLabel('Code from your authenticator app').fill('12');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByText('Enter the six digits').first().waitFor();
  // The code of now was used for setting it up: each works once.
  await page.getByLabel('Code from your authenticator app').fill(totp(secret, 1));
  await shoot(page, 'sign-in-code');
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await arrivedAt(page, '/clinic/calendar');

  await api(page, 'POST', 'auth/logout', {});
  await byPassword(page, NURSE.login, NURSE.password);
  await page.getByRole('button', { name: 'Use a recovery code instead' }).click();
  await page.getByLabel('Recovery code').fill(codes[0].toUpperCase());
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await arrivedAt(page, '/clinic');
  await page.goto('/account');
  await page.getByText('9 of 10 left').waitFor();
});

test('a one-time password and a required second factor lead through guided screens and back', async () => {
  const login = `lab-${Date.now().toString(36)}`;
  const made = await byTwo('POST', 'admin/users', { login, display: 'Peter Otieno', roles: ['front-desk', 'lab'], language: 'en' });
  const rules = await api(admin.page, 'GET', 'admin/security-policy');
  await api(admin.page, 'PUT', 'admin/security-policy', { ...rules, required_roles: ['lab'] });
  try {
    const { page, context } = await someone(PHONE);
    await byPassword(page, login, made.one_time_password, '?next=/desk/patients');
    await page.getByRole('heading', { name: 'Choose your own password' }).waitFor();
    await accessible(page, 'forced change');
    await shoot(page, 'set-up-password');
    // Whatever page is asked for: it leads back here.
    await page.goto('/desk/register');
    await page.getByRole('heading', { name: 'Choose your own password' }).waitFor();
    await page.getByLabel('The password you were given').fill(made.one_time_password);
    await page.getByLabel('New password').fill('samaki wengi ziwani leo');
    await page.getByRole('button', { name: 'Save the new password' }).click();
    await page.getByText('Your clinic asks everybody in your role').waitFor();
    await shoot(page, 'set-up-required');
    assert.equal(await page.getByRole('button', { name: 'Not now' }).count(), 0);
    await page.getByRole('button', { name: /^Authenticator app/ }).click();
    const key = (await page.locator('code.secret').textContent()).trim();
    await page.getByLabel('Code from your authenticator app').fill(totp(key));
    await page.getByRole('button', { name: 'Confirm the code' }).click();
    await keepCodes(page);
    await page.getByLabel('I have kept the codes').check();
    await page.getByRole('button', { name: 'Continue' }).click();
    await arrivedAt(page, '/desk/register');
    await page.getByRole('heading', { level: 1 }).waitFor();
    await context.close();
  } finally {
    await api(admin.page, 'PUT', 'admin/security-policy', rules);
  }
});

test('a session ended elsewhere covers the page; what was typed stays', async () => {
  const desk = await someone(DESK);
  const { page } = desk;
  await byPassword(page, 'reception', PASSWORD);
  await arrived(page);
  await page.goto('/desk/register');
  const given = page.getByLabel('First names');
  await given.fill('Wanjiku');
  const phone = await someone(PHONE);
  await byPassword(phone.page, 'reception', PASSWORD);
  await arrived(phone.page);
  await phone.page.goto('/account');
  await phone.page.getByText('This device', { exact: true }).waitFor();
  const others = phone.page.getByRole('button', { name: /^Sign out of / });
  for (let left = await others.count(); left > 0; left -= 1) {
    await others.first().click();
    await phone.page.waitForFunction((most) => document.querySelectorAll('.places button').length < most, left);
  }
  await page.getByRole('heading', { name: 'Please sign in again' }).waitFor();
  assert.equal(await page.locator('main#main').evaluate((main) => getComputedStyle(main).visibility), 'hidden');
  await accessible(page, 'lock screen');
  await shoot(page, 'lock-ended');
  const lock = page.getByRole('dialog', { name: 'Please sign in again' });
  await lock.getByLabel('Phone number, e-mail or user name').fill('reception');
  await lock.getByLabel('Password').fill(PASSWORD);
  await lock.getByRole('button', { name: 'Sign in', exact: true }).click();
  await lock.waitFor({ state: 'hidden' });
  assert.equal(await given.inputValue(), 'Wanjiku');

  // Every tab is covered with the first one, and free again with it.
  const tab = await desk.context.newPage();
  await tab.goto('/desk');
  await tab.getByRole('heading', { level: 1 }).waitFor();
  await page.getByRole('button', { name: 'Account' }).click();
  await page.getByRole('button', { name: 'Lock the screen' }).click();
  await tab.getByRole('heading', { name: 'The screen is locked' }).waitFor();
  const idle = page.getByRole('dialog', { name: 'The screen is locked' });
  await idle.getByLabel('Phone number, e-mail or user name').fill('reception');
  await idle.getByLabel('Password').fill(PASSWORD);
  await idle.getByRole('button', { name: 'Sign in', exact: true }).click();
  await tab.getByRole('heading', { name: 'The screen is locked' }).waitFor({ state: 'hidden' });
  await tab.close();

  // Without a connection it locks as well, and a reload does not open it.
  await page.getByRole('button', { name: 'Account' }).click();
  await desk.context.setOffline(true);
  await page.getByRole('button', { name: 'Lock the screen' }).click();
  await page.waitForFunction(() => document.documentElement.classList.contains('locked') || document.querySelector('.cover'));
  await desk.context.setOffline(false);
  await page.reload();
  await arrivedAt(page, '/sign-in');
  await byPassword(page, 'reception', PASSWORD, '?next=/desk/register');
  await given.waitFor();

  // Everywhere at once.
  await phone.page.getByRole('button', { name: 'Sign out everywhere' }).click();
  await phone.page.getByRole('dialog').getByRole('button', { name: 'Sign out everywhere' }).click();
  await arrivedAt(phone.page, '/sign-in');
  await lock.waitFor();
  await phone.context.close();
  await desk.context.close();
});

test('people change over on a shared tablet by PIN, and it locks itself', async () => {
  const tablet = await someone({ width: 820, height: 1180 });
  const { page, context } = tablet;
  await context.clock.install();
  const keys = await authenticator(page);
  await byPassword(page, 'admin', PASSWORD);
  await arrived(page);
  await page.goto('/account');
  await page.getByRole('button', { name: 'Make it a shared device' }).click();
  await page.getByLabel('Name of the device').fill('Tablet, ward 3');
  await page.getByRole('button', { name: 'Make it a shared device' }).click();
  const setPin = async (pin) => {
    await page.getByLabel('New PIN').fill(pin);
    await page.getByLabel('The same PIN again').fill(pin);
    await page.getByRole('button', { name: 'Save the PIN' }).click();
  };
  await page.getByLabel('New PIN').waitFor();
  await setPin('123456');
  await page.getByText('easy to guess').first().waitFor();
  await shoot(page, 'account-pin');
  await setPin('908172');
  await page.getByText('1 person has a PIN here').waitFor();

  // The nurse signs in once with everything she has, and sets hers.
  await page.getByRole('button', { name: 'Switch user' }).click();
  await page.getByRole('heading', { name: 'Who works here now?' }).waitFor();
  await page.getByRole('button', { name: 'Administrator' }).waitFor();
  await accessible(page, 'people of the tablet');
  await shoot(page, 'tablet-people');
  await page.getByRole('button', { name: 'Sign in with a password' }).click();
  const lock = page.getByRole('dialog', { name: 'Who works here now?' });
  await lock.getByLabel('Phone number, e-mail or user name').fill(NURSE.login);
  await lock.getByLabel('Password').fill(NURSE.password);
  await lock.getByRole('button', { name: 'Sign in', exact: true }).click();
  await lock.getByRole('button', { name: 'Use a recovery code instead' }).click();
  await lock.getByLabel('Recovery code').fill(codes[1]);
  await lock.getByRole('button', { name: 'Sign in', exact: true }).click();
  await arrivedAt(page, '/clinic');
  await page.goto('/account');
  await page.getByRole('button', { name: 'Set my PIN' }).click();
  await page.getByLabel('New PIN').waitFor();
  await setPin('271903');
  await page.getByText('2 people have a PIN here').waitFor();

  // To the administrator and back, by PIN. The frame offers it on every page of a shared device.
  await page.getByRole('banner').getByRole('button', { name: 'Switch user' }).click();
  await page.getByRole('button', { name: 'Administrator' }).click();
  await page.getByText('Enter your six-digit PIN').waitFor();
  await page.keyboard.type('111222');
  await page.getByText('The PIN is not right').waitFor();
  await accessible(page, 'PIN pad');
  await shoot(page, 'tablet-pin');
  for (const digit of '908172') await page.getByRole('button', { name: digit, exact: true }).click();
  await arrivedAt(page, '/admin');
  await page.getByRole('banner').getByRole('button', { name: 'Switch user' }).click();
  await page.getByRole('button', { name: NURSE.display }).click();
  await page.keyboard.type('271903');
  await arrivedAt(page, '/clinic');

  // A PIN is not enough for what is sensitive: the passkey, once, and the act goes on by itself.
  for (const credential of await NURSE.keys.credentials()) await keys.add(credential);
  await page.goto('/account');
  await page.getByRole('button', { name: 'Make new codes' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Make new codes' }).click();
  const question = page.getByRole('dialog', { name: 'Please confirm that it is you' });
  await question.waitFor();
  await shoot(page, 'step-up');
  await accessible(page, 'step-up');
  await question.getByRole('button', { name: 'Cancel' }).click();
  await question.waitFor({ state: 'hidden' });
  assert.equal(await page.locator('.codes').count(), 0);
  await page.getByRole('dialog').getByRole('button', { name: 'Make new codes' }).click();
  await question.getByRole('button', { name: 'Use your passkey' }).click();
  codes = await keepCodes(page);
  await page.getByLabel('I have kept the codes').check();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText('10 of 10 left').waitFor();

  // Nobody touches it: a word first, then it locks. What was typed stays for the same person.
  await page.goto('/clinic/patients');
  const search = page.getByRole('searchbox').or(page.getByLabel('Find a patient')).first();
  await search.fill('Achieng');
  // The frame knows the session, and with it the limits.
  await page.getByRole('banner').getByRole('button', { name: 'Switch user' }).waitFor();
  await context.clock.fastForward('04:15');
  const still = page.getByRole('dialog', { name: 'Are you still there?' });
  await still.waitFor();
  await accessible(page, 'still there');
  await shoot(page, 'still-there');
  await still.getByRole('button', { name: 'Stay signed in' }).click();
  await still.waitFor({ state: 'hidden' });
  await context.clock.fastForward('05:30');
  await page.getByRole('heading', { name: 'The screen is locked' }).waitFor();
  assert.equal(await page.locator('main#main').evaluate((main) => getComputedStyle(main).visibility), 'hidden');
  await accessible(page, 'locked tablet');
  await shoot(page, 'lock-idle');
  // A reload does not get round it: the session is over at the server.
  assert.equal((await page.evaluate(async () => (await fetch('/api/v1/me')).status)), 401);
  await page.keyboard.type('271903');
  await page.getByRole('heading', { name: 'The screen is locked' }).waitFor({ state: 'hidden' });
  assert.equal(await search.inputValue(), 'Achieng');
});

test('a patient protects her account too, in Kiswahili', async () => {
  const { page, context } = await someone(PHONE, { locale: 'sw-KE' });
  const number = (n) => `2547${String(Date.now() + n).slice(-8)}`;
  const [first, second] = [number(0), number(1)];
  await page.goto('/reset-password');
  await page.getByRole('heading', { name: 'Weka nenosiri jipya' }).waitFor();
  await accessible(page, 'reset');
  await shoot(page, 'reset-password-sw');
  const begun = await api(page, 'POST', 'auth/register', {
    given: 'Amina',
    family: 'Njeri',
    birth_date: '1991-04-17',
    phone: `+${first}`,
    password: 'ndege watatu angani',
    language: 'sw',
    accept_terms: true
  });
  const code = /\b\d{6}\b/.exec((await sms(first, /\b\d{6}\b/)).text)[0];
  await api(page, 'POST', `auth/register/${begun.registration_id}/confirm`, { code });
  // A code to a phone is not enough to change that phone: she shows her password first.
  await api(page, 'POST', 'auth/login', { login: `+${first}`, password: 'ndege watatu angani' });
  await page.goto('/settings');
  await page.getByRole('link', { name: 'Akaunti na usalama' }).click();
  await arrivedAt(page, '/settings/security');
  await page.getByRole('heading', { level: 1, name: 'Akaunti na usalama' }).waitFor();
  await page.getByText('Kifaa hiki', { exact: true }).waitFor();
  await accessible(page, 'account of a patient');
  await shoot(page, 'account-patient-sw');

  await page.getByRole('button', { name: 'Badilisha nambari' }).click();
  await page.getByLabel('Nambari mpya ya simu').fill(`+${second}`);
  await page.getByRole('button', { name: 'Tuma nambari' }).click();
  await page.getByLabel('Nambari kutoka kwa SMS').fill('000000');
  await page.getByRole('button', { name: 'Badilisha nambari' }).click();
  await page.getByText('Nambari si sahihi').first().waitFor();
  await shoot(page, 'account-phone-sw');
  await page.getByLabel('Nambari kutoka kwa SMS').fill(/\b\d{6}\b/.exec((await sms(second, /\b\d{6}\b/)).text)[0]);
  await page.getByRole('button', { name: 'Badilisha nambari' }).click();
  await page.getByText('Nambari yako imebadilishwa').waitFor();
  // The wrong password is said in the form; it is no reason to sign in again.
  await page.getByRole('button', { name: 'Badilisha nenosiri' }).click();
  await page.getByLabel('Nenosiri lako la sasa').fill('si hili kabisa');
  await page.getByLabel('Nenosiri jipya').fill('samaki wanne baharini');
  await page.getByRole('button', { name: 'Hifadhi nenosiri jipya' }).click();
  await page.getByText('Nenosiri si sahihi').first().waitFor();
  await page.getByLabel('Nenosiri lako la sasa').fill('ndege watatu angani');
  await page.getByRole('button', { name: 'Hifadhi nenosiri jipya' }).click();
  await page.getByText('Nenosiri lako jipya limehifadhiwa').waitFor();
  await page.reload();
  await page.getByRole('heading', { level: 1, name: 'Akaunti na usalama' }).waitFor();
  await context.close();
});

test('staff of an outside provider sign in there and come back to the wanted page', async (t) => {
  const { page, context } = await someone(DESK);
  await page.goto('/sign-in?next=/cashier');
  const button = page.getByRole('link', { name: /^Sign in with Staff login/ });
  const { items } = await api(page, 'GET', 'auth/providers');
  if (items.length === 0) return t.skip('no provider is configured');
  await button.waitFor();
  await accessible(page, 'sign-in with a provider');
  await shoot(page, 'sign-in-provider');
  // She changes her mind there.
  await button.click();
  await page.getByText('Nobody: refuse').click();
  await arrivedAt(page, '/sign-in');
  await page.getByText('The other service did not sign you in').waitFor();
  await shoot(page, 'sign-in-provider-refused');
  await page.goto('/sign-in?next=/cashier');
  await button.click();
  await page.getByText('Peter Odhiambo').click();
  await page.waitForURL((url) => ['/cashier', '/set-up'].includes(url.pathname));
  await arrived(page);
  await arrivedAt(page, '/cashier');
  await page.goto('/account');
  await page.getByRole('heading', { name: 'Accounts elsewhere that you sign in with' }).scrollIntoViewIfNeeded();
  await accessible(page, 'account with a provider');
  await shoot(page, 'account-identities');
  // Somebody whom nobody gave anything to do here is told whom to ask.
  await api(page, 'POST', 'auth/logout', {});
  await page.goto('/sign-in');
  await button.click();
  await page.getByText('Grace Achieng').click();
  await arrivedAt(page, '/sign-in');
  await page.getByText('nobody gave you access here').waitFor();
  await context.close();
});

test('no page complained', () => {
  const complaints = opened.flatMap((one) => one.errors);
  assert.deepEqual(complaints, []);
  assert.ok(URL_BASE.includes('localhost'), 'passkeys need a name, not an address');
});
