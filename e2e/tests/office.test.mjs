// The cashier's and the administrator's work at a desk: money that comes in by hand, by phone and from nowhere, a new
// colleague, a price, the audit. Invoices come from visits in person that are finished over the API beforehand.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readFile } from 'node:fs/promises';
import { api, openAlways, signedIn } from '../lib/api.mjs';
import { DESK, DOCTOR, PHONE, accessible, openBrowser, person, sandbox, shoot, signIn, until, step, stands } from '../lib/world.mjs';

let browser;
/** Open invoices, each of another patient. */
const invoices = [];

/** One visit in person from check-in to invoice. */
async function finishedVisit(provider, desk, doctor, patient, start) {
  const appointment = await api('POST', 'appointments', desk, {
    provider_id: provider,
    kind: 'in-person',
    start,
    reason: 'Cough for three days',
    patient_id: patient.id
  });
  await api('POST', `appointments/${appointment.id}/check-in`, desk, {});
  const visit = await api('POST', 'consultations', doctor, { appointment_id: appointment.id });
  await api('POST', `consultations/${visit.id}/start`, doctor, {});
  await api('PUT', `consultations/${visit.id}/note`, doctor, {
    reason: 'Cough',
    findings: 'Clear chest, no fever',
    assessment: 'Common cold',
    diagnoses: [{ code: 'J00', display: 'Acute nasopharyngitis [common cold]', system: 'http://hl7.org/fhir/sid/icd-10' }],
    plan: 'Fluids and rest'
  });
  return (await api('POST', `consultations/${visit.id}/finish`, doctor, {})).invoice;
}

before(async () => {
  browser = await openBrowser();
  const { token: doctor, user } = await signedIn(DOCTOR);
  const { token: desk } = await signedIn('reception');
  const provider = user.practitioner_id;
  await openAlways('in-person', { slot_minutes: 5, lead_minutes: 0 }, doctor, provider);
  const today = new Date(Date.now() + 3 * 3_600_000).toISOString().slice(0, 10);
  const free = await api('GET', `providers/${provider}/availability?kind=in-person&from=${today}&days=2`, desk);
  const starts = free.days.flatMap((day) => day.slots.map((slot) => slot.start));
  const patients = (await api('POST', 'patients/search', desk, { limit: 100 })).items;
  // Somebody may have a visit at that very time.
  for (const [index, patient] of patients.entries()) {
    if (invoices.length === 3) break;
    const invoice = await finishedVisit(provider, desk, doctor, patient, starts[index]).catch((error) => {
      if (!/patient-busy|slot-taken/.test(error.message)) throw error;
    });
    if (invoice) invoices.push({ ...invoice, name: `${patient.name.given} ${patient.name.family}` });
  }
  assert.equal(invoices.length, 3);
});
after(() => browser?.close());

test('money at the cashier', { timeout: 240_000 }, async () => {
  const { page, context, errors } = await person(browser, DESK);
  const amount = invoices[0].due.amount_minor / 100;
  const half = amount / 2;
  const shown = (shillings) => `KSh ${shillings.toLocaleString('en')}`;
  await signIn(page, 'cashier');
  await step('find an invoice by its number', async () => {
    await page.goto('/cashier');
    await page.getByText(invoices[0].number).waitFor();
    await accessible(page, 'to collect');
    await shoot(page, 'cashier-collect');
    await page.getByRole('searchbox').fill(invoices[0].number);
    await page.getByRole('link', { name: `Take payment: ${invoices[0].name}` }).click();
    await page.getByRole('heading', { name: invoices[0].name }).waitFor();
  });
  await step('too much is refused before it is sent', async () => {
    await page.getByLabel('Amount (KES)').fill(String(amount + 1));
    await page.getByRole('button', { name: /in cash$/ }).click();
    await page.getByText(`Only ${shown(amount)} is due`).first().waitFor();
  });
  await step('take half in cash and give change', async () => {
    await page.getByLabel('Amount (KES)').fill(String(half));
    await page.getByLabel('Money handed over').fill(String(half + 200));
    await page.getByText('Change to give back: KSh 200').waitFor();
    await shoot(page, 'cashier-cash');
    await page.getByRole('button', { name: `Take ${shown(half)} in cash` }).click();
    await page.getByText('Partly paid').waitFor();
  });
  await step('ask for the other half by M-PESA and see it arrive', async () => {
    await page.getByText('M-PESA', { exact: true }).first().click();
    await page.getByLabel('M-PESA number').fill('0712 345 611');
    await page.getByRole('button', { name: `Request ${shown(half)} by M-PESA` }).click();
    await page.getByText('Waiting for the PIN').waitFor();
    await accessible(page, 'request on the phone');
    await shoot(page, 'cashier-request');
    await until('prompt', () => sandbox('GET', 'handsets/254712345611/prompt').catch(() => undefined));
    await sandbox('POST', 'handsets/254712345611/prompt', { pin: '1234' });
    await page.getByText('Paid in full').waitFor();
    await shoot(page, 'cashier-paid');
    const receipt = await page.getByRole('link', { name: 'Receipt (PDF)' }).first().getAttribute('href');
    const pdf = await context.request.get(receipt);
    assert.equal((await pdf.body()).subarray(0, 4).toString(), '%PDF');
  });
  await step('a declined request says so; the patient pays in cash instead', async () => {
    await page.goto(`/cashier/invoices/${invoices[1].id}`);
    await page.getByText('M-PESA', { exact: true }).first().click();
    await page.getByLabel('M-PESA number').fill('0712 345 612');
    await page.getByRole('button', { name: /by M-PESA$/ }).click();
    await until('prompt', () => sandbox('GET', 'handsets/254712345612/prompt').catch(() => undefined));
    await sandbox('POST', 'handsets/254712345612/prompt', { cancel: true });
    await page.getByText('was not paid').waitFor();
    await page.getByText('declined on the phone').first().waitFor();
    await page.getByText('Cash', { exact: true }).first().click();
    await page.getByRole('button', { name: /in cash$/ }).click();
    await page.getByText('Paid in full').waitFor();
  });
  await step('the takings show both methods, the books balance, the list can be saved', async () => {
    await page.goto('/cashier/day');
    await page.getByText('The books balance.').waitFor();
    await page.locator('table').first().getByText(invoices[0].number).first().waitFor();
    await accessible(page, 'takings');
    await shoot(page, 'cashier-takings');
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Save as CSV' }).first().click()
    ]);
    const text = await readFile(await download.path(), 'utf8');
    assert.match(text, new RegExp(`${invoices[0].number},Cash,${half}\\.00,KES,Paid`));
    assert.match(text, new RegExp(`${invoices[0].number},M-PESA,${half}\\.00,KES,Paid`));
  });
  await step('the administration is closed to the cashier', async () => {
    await page.goto('/admin/users');
    await page.getByText('You do not have access to this').waitFor();
  });
  assert.deepEqual(errors, []);
});

test('money without an invoice is given to one', { timeout: 120_000 }, async (t) => {
  const { page, errors } = await person(browser, DESK);
  const amount = invoices[2].due.amount_minor;
  await signIn(page, 'cashier');
  await sandbox('POST', 'handsets/254712345613/paybill', { pin: '1234', amount_minor: amount, account: 'NO-SUCH-BILL' });
  // Each look at the day is recorded, so it is not asked for long.
  const LOOK_MS = 5_000;
  const look = async () => {
    const day = await (await page.context().request.get('/api/v1/cashier/day')).json();
    return day.unallocated.find((one) => one.amount.amount_minor === amount);
  };
  const held = await until('unallocated money', look, LOOK_MS).catch(() => undefined);
  if (!held) return t.skip('this server does not hear of paybill payments');
  await page.goto('/cashier/day');
  await page.locator('li', { hasText: held.key.replace('mpesa:', '') }).getByRole('button', { name: 'Give to an invoice' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('searchbox').fill(invoices[2].number);
  await stands(page);
  await accessible(page, 'give to an invoice');
  await shoot(page, 'cashier-allocate');
  await dialog.getByRole('radio').first().check();
  await dialog.getByRole('button', { name: /^Give KSh/ }).click();
  await page.getByText('now belongs to the invoice of').waitFor();
  await page.getByText('The books balance.').waitFor();
  assert.deepEqual(errors, []);
});

test('a new colleague, a price and the audit', { timeout: 240_000 }, async () => {
  const admin = await person(browser, DESK);
  const { page } = admin;
  const family = `Njoroge${Date.now() % 100_000}`;
  let password;
  await signIn(page, 'admin');
  await step('what is missing is said', async () => {
    await page.goto('/admin/users/new');
    await page.getByRole('radio', { name: /One-time password/ }).check();
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.getByRole('link', { name: 'Choose at least one role' }).waitFor();
  });
  await step('add a doctor and note the password that is shown once', async () => {
    await page.getByRole('checkbox', { name: /^Doctor/ }).check();
    await page.getByLabel('Title').fill('Dr');
    await page.getByLabel('Given name').fill('Wanjiru');
    await page.getByLabel('Family name').fill(family);
    await page.getByLabel('General practice').check();
    await accessible(page, 'new colleague');
    await shoot(page, 'admin-new-user');
    await page.getByText('Takes two people').waitFor();
    await page.getByLabel('Why, for the second person').fill('New in the clinic');
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await page.getByText('Waits for a second person').waitFor();
    await accessible(page, 'waits for a second person');
    await shoot(page, 'admin-user-waits');
    await page.getByRole('link', { name: 'What waits' }).click();
    await page.getByText('You asked for this. Somebody else must agree.').first().waitFor();
    await accessible(page, 'changes of accounts');
    await shoot(page, 'admin-account-changes');
  });
  await step('the privacy officer agrees, and the password is shown once', async () => {
    const officer = await person(browser, PHONE);
    await signIn(officer.page, 'privacy');
    await officer.page.goto('/admin/rights/accounts');
    await officer.page.getByRole('button', { name: new RegExp(`^Agree: .*${family}`) }).click();
    await officer.page.getByRole('dialog').getByText('You answer for it together').waitFor();
    await accessible(officer.page, 'agree to an account');
    await shoot(officer.page, 'account-change-agree');
    await officer.page.getByRole('dialog').getByRole('button', { name: 'Agree' }).click();
    await officer.page.getByText('Agreed and carried out').waitFor();
    await shoot(officer.page, 'account-changes-phone');
    assert.deepEqual(officer.errors, []);
    await officer.context.close();
    await page.reload();
    await page.getByRole('listitem').filter({ hasText: family }).getByRole('button', { name: 'Show it to me now' }).click();
    password = await page.getByTestId('one-time-password').innerText();
    await shoot(page, 'admin-password');
    await page.getByRole('button', { name: 'I have noted it' }).click();
  });
  await step('set the hours', async () => {
    const { token } = await signedIn('admin');
    const { items } = await api('POST', 'admin/users/search', token, { q: family });
    await page.goto(`/admin/hours?provider=${items[0].practitioner_id}`);
    await page.getByRole('button', { name: 'Add hours' }).first().click();
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The hours are saved').waitFor();
    await shoot(page, 'admin-hours');
  });
  await step('the doctor signs in with it and sets her own', async () => {
    const doctor = await person(browser, PHONE);
    await doctor.page.goto('/sign-in');
    await doctor.page.getByLabel('Phone number, e-mail or user name').fill(family.toLowerCase());
    await doctor.page.getByLabel('Password', { exact: true }).fill(password);
    await doctor.page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await doctor.page.getByLabel('The password you were given').fill(password);
    await doctor.page.getByLabel('New password').fill('samaki wengi ziwani leo');
    await doctor.page.getByRole('button', { name: 'Save the new password' }).click();
    await doctor.page.waitForURL('**/clinic');
    await doctor.context.close();
  });
  await step('close the account', async () => {
    await page.goto('/admin/users');
    await page.getByRole('searchbox').fill(family);
    await page.getByRole('link', { name: `Dr Wanjiru ${family}` }).click();
    await page.getByRole('button', { name: 'Name, roles, password, closing' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Save' }).waitFor();
    await stands(page);
    await accessible(page, 'change a colleague');
    await dialog.getByRole('button', { name: 'Close account' }).click();
    await dialog.getByRole('button', { name: 'Close account' }).click();
    await page.getByText(`The account of Dr Wanjiru ${family} is closed`).waitFor();
  });
  await step('change a price', async () => {
    await page.goto('/admin/prices');
    await page.getByRole('button', { name: 'Change Dermatology video consultation' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Price (KES)').fill('1,650');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Dermatology video consultation is saved').waitFor();
    await page.getByText('KSh 1,650').waitFor();
    await stands(page);
    await accessible(page, 'prices');
    await shoot(page, 'admin-prices');
  });
  await step('the audit says in words who took the cash', async () => {
    await page.goto('/admin/audit');
    await page.getByRole('combobox', { name: 'Who' }).fill('cashier');
    await page.getByRole('listbox', { name: 'Who' }).getByRole('option').first().click();
    await page.waitForURL(/agent=account/);
    await page.getByText('Changes only').click();
    await page.waitForURL(/show=changes/);
    await page.getByRole('cell', { name: /took cash/ }).first().waitFor();
    await accessible(page, 'audit of one person');
    await shoot(page, 'admin-audit-one');
  });
  for (const [path, name] of [
    ['/admin/jobs', 'jobs'],
    ['/admin/messages', 'messages'],
    ['/admin/integrations', 'integrations']
  ]) {
    await step(name, async () => {
      await page.goto(path);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await accessible(page, name);
      await shoot(page, `admin-${name}`);
    });
  }
  assert.deepEqual(admin.errors, []);
});

test('those who keep the system running see no patients', { timeout: 120_000 }, async () => {
  const it = await person(browser, DESK);
  await signIn(it.page, 'it');
  await it.page.getByText('Jobs given up').waitFor();
  assert.deepEqual(await it.page.locator('nav.side a').allInnerTexts(), ['Overview', 'Backups', 'Jobs', 'Messages', 'Integrations']);
  await it.page.goto('/admin/users');
  await it.page.getByText('You do not have access to this').waitFor();
  const privacy = await person(browser, DESK);
  await signIn(privacy.page, 'privacy');
  await privacy.page.getByRole('heading', { name: 'Needs attention' }).waitFor();
  await privacy.page.goto('/admin/audit');
  await privacy.page.locator('tbody tr').first().waitFor();
  assert.deepEqual([...it.errors, ...privacy.errors], []);
});
