// A telemedicine visit as people do it: a patient on a phone, a doctor, a cashier and an administrator at desks, and the
// virtual handset. Once over the direct path, once with the call forced through the relay inside the server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { breakSockets, chatLines, control, instrument, path, say, untilFramesMove, untilPhase, untilSound } from '../lib/call.mjs';
import { api, openAlways, signedIn } from '../lib/api.mjs';
import { bookVisit, enterWaitingRoom } from '../lib/portal.mjs';
import { DESK, OTHER_DOCTOR as DOCTOR, PHONE, SANDBOX, WAIT_MS, accessible, openBrowser, person, shoot, signIn, sms, until } from '../lib/world.mjs';

let browser;
let doctorToken;
let provider;

before(async () => {
  browser = await openBrowser();
  const session = await signedIn(DOCTOR);
  doctorToken = session.token;
  provider = session.user.practitioner_id;
  // Whatever the hour, somebody can be seen by video now.
  await openAlways('video', { slot_minutes: 5, lead_minutes: 0 }, doctorToken, provider);
});
after(() => browser?.close());

/** Says what is being done, so that a failure names the step a nurse would name. */
async function step(t, name, act) {
  const begun = Date.now();
  try {
    return await act();
  } catch (error) {
    error.message = `${name}: ${error.message}`;
    throw error;
  } finally {
    t.diagnostic(`${name} (${Date.now() - begun} ms)`);
  }
}

async function register(t, patient, handset, { given, family, phone, msisdn, shots }) {
  const { page } = patient;
  await step(t, 'register with name, birth date and phone', async () => {
    await page.goto('/register');
    await page.getByLabel('First names').fill(given);
    await page.getByLabel('Family name').fill(family);
    await page.getByLabel('Day', { exact: true }).fill('14');
    await page.getByLabel('Month', { exact: true }).fill('2');
    await page.getByLabel('Year', { exact: true }).fill('1991');
    await page.getByLabel('Sex').selectOption('female');
    await page.getByLabel('Mobile phone').fill(phone);
    await page.getByLabel('Password', { exact: true }).fill('kahawa-na-mandazi');
    await page.getByLabel(/I agree that the clinic/).check();
    if (shots) {
      await accessible(page, 'register');
      await shoot(page, 'register');
    }
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Confirm your phone' }).waitFor();
  });
  await step(t, 'confirm the phone with the code on the handset', async () => {
    await handset.page.goto(`${SANDBOX}/handset/${msisdn}`);
    const log = handset.page.getByRole('log');
    await until('code on the handset', async () => /\b\d{6}\b/.test(await log.innerText()));
    if (shots) await shoot(handset.page, 'handset');
    const code = (await log.innerText()).match(/\b\d{6}\b/)[0];
    await page.getByLabel('Code from the SMS').fill(code);
    await page.getByRole('button', { name: 'Confirm' }).click();
    await page.waitForURL('**/home');
    await page.getByRole('heading', { name: `Hello, ${given}` }).waitFor();
  });
}

async function book(t, patient, { msisdn, reason, shots }) {
  const found = await api('GET', `providers/${provider}`, doctorToken);
  const look = shots && (async (page, name) => {
    if (name === 'book-person') await page.getByRole('link', { name: new RegExp(found.name.family) }).first().waitFor();
    if (name !== 'book-check') await accessible(page, name);
    await shoot(page, name);
  });
  const id = await step(t, 'choose the doctor and a time, and book', () => bookVisit(patient.page, provider, { kind: /Video/, reason, look }));
  await step(t, 'the confirmation arrives by SMS', () => sms(msisdn, new RegExp(found.name.family)));
  return id;
}

const waits = (t, patient, appointment, shots) =>
  step(t, 'check camera, microphone and relay, and enter the waiting room', () =>
    enterWaitingRoom(patient.page, appointment, shots && (async (page, name) => {
      await accessible(page, name);
      await shoot(page, name);
    }))
  );

async function callBegins(t, patient, doctor, name, expected, shots) {
  await step(t, 'the doctor sees who waits and admits', async () => {
    await doctor.page.goto('/clinic');
    const row = doctor.page.locator('li', { hasText: name }).filter({ has: doctor.page.getByRole('button', { name: 'Admit' }) });
    await row.waitFor();
    if (shots) {
      await accessible(doctor.page, 'today');
      await shoot(doctor.page, 'today');
    }
    await row.getByRole('button', { name: 'Admit' }).click();
    await doctor.page.waitForURL(/\/clinic\/consultation\//);
  });
  await step(t, 'both see and hear each other', async () => {
    await untilPhase(patient.page, 'active', WAIT_MS);
    await untilPhase(doctor.page, 'active', WAIT_MS);
    await untilFramesMove(patient.page, 10, WAIT_MS);
    await untilFramesMove(doctor.page, 10, WAIT_MS);
    await untilSound(doctor.page, WAIT_MS);
    assert.equal(await path(doctor.page), expected);
    assert.equal(await path(patient.page), expected);
  });
}

async function writeNote(page) {
  await page.getByLabel('Reason for the visit').fill('Fever and headache since three days');
  await page.getByLabel('Findings').fill('Febrile, alert, well hydrated. No neck stiffness.');
  await page.getByLabel('Assessment').fill('Uncomplicated malaria is likely.');
  await page.getByRole('combobox', { name: /Diagnoses/ }).fill('malaria');
  await page.getByRole('option', { name: /malaria/i }).first().click();
  await page.getByLabel('Plan').fill('Artemether + lumefantrine for three days; return if vomiting or no better in 48 hours.');
  await page.getByLabel('Temperature').fill('38.4');
  await page.getByLabel('Pulse').fill('96');
  await page.getByLabel('Systolic').fill('118');
  await page.getByLabel('Diastolic').fill('74');
  await page.getByLabel('Diastolic').press('Tab');
  await page.getByText(/^Saved \d/).first().waitFor();
}

async function prescribe(page) {
  await page.getByRole('combobox', { name: /Add a medicine/ }).fill('paracetamol');
  await page.getByRole('option', { name: /paracetamol/i }).first().click();
  await page.getByRole('button', { name: 'Put on prescription' }).click();
  await page.getByRole('button', { name: 'Review and sign' }).click();
  await page.getByRole('button', { name: 'Sign prescription' }).click();
  await page.getByText('The prescription is signed').waitFor();
}

test('a complete visit, with a direct call and M-PESA', { timeout: 600_000 }, async (t) => {
  const someone = { given: 'Amina', family: 'Wambui', phone: '0712 345 601', msisdn: '254712345601', shots: true };
  const [patient, doctor, handset, cashier, administrator] = await Promise.all([
    person(browser, PHONE),
    person(browser, DESK),
    person(browser, PHONE),
    person(browser, DESK),
    person(browser, DESK)
  ]);
  await instrument(patient.context);
  await instrument(doctor.context);
  try {
    await register(t, patient, handset, someone);
    await step(t, 'the home page says what to do', async () => {
      await accessible(patient.page, 'home');
      await shoot(patient.page, 'home');
    });
    await step(t, 'the same in Swahili', async () => {
      await patient.page.evaluate(() => localStorage.setItem('uzima.locale', 'sw'));
      await patient.page.reload();
      await patient.page.locator('html[lang=sw]').waitFor();
      await patient.page.getByRole('heading', { level: 1 }).waitFor();
      await shoot(patient.page, 'home-sw');
      await patient.page.evaluate(() => localStorage.setItem('uzima.locale', 'en'));
      await patient.page.reload();
    });
    const appointment = await book(t, patient, { ...someone, reason: 'Fever and headache' });
    await waits(t, patient, appointment, true);
    await step(t, 'the doctor signs in', () => signIn(doctor.page, DOCTOR));
    await callBegins(t, patient, doctor, someone.family, 'direct', true);
    await step(t, 'mute, camera off and chat reach the other side', async () => {
      await say(patient.page, 'Can you hear me?');
      // The other side sees that there is something to read, and opens it.
      await doctor.page.locator('section.call').getByRole('button', { name: /^Chat/ }).click();
      await until('chat line', async () => (await chatLines(doctor.page)).some((line) => line.includes('Can you hear me?')));
    });
    await step(t, 'a dropped connection comes back', async () => {
      await breakSockets(patient.page);
      await untilPhase(patient.page, 'active', WAIT_MS);
      await untilFramesMove(doctor.page, 10, WAIT_MS);
      await say(doctor.page, 'Yes, I can.');
      await until('chat line', async () => (await chatLines(patient.page)).some((line) => line.includes('Yes, I can.')));
    });
    await shoot(patient.page, 'call');
    await step(t, 'write note, vitals and prescription during the call', async () => {
      await writeNote(doctor.page);
      await prescribe(doctor.page);
      await control(doctor.page, 'Close chat').click();
      await doctor.page.evaluate(() => scrollTo(0, 0));
      await accessible(doctor.page, 'consultation');
      await shoot(doctor.page, 'consultation');
    });
    await step(t, 'end the call and finish the visit', async () => {
      await doctor.page.getByRole('button', { name: 'End call' }).first().click();
      await doctor.page.getByRole('dialog').getByRole('button', { name: 'End call' }).click();
      await patient.page.getByRole('heading', { name: 'The call has ended' }).waitFor();
      await doctor.page.getByRole('button', { name: 'Finish visit' }).click();
      await doctor.page.getByRole('dialog').getByRole('button', { name: 'Finish visit' }).click();
      await doctor.page.waitForURL(/\/clinic$/);
    });
    await step(t, 'the patient is asked to pay and gets the prompt on the handset', async () => {
      await patient.page.goto('/home');
      await patient.page.getByRole('link', { name: 'Pay with M-PESA' }).click();
      await patient.page.getByRole('button', { name: /^Pay KSh/ }).click();
      await patient.page.getByRole('heading', { name: 'Check your phone' }).waitFor();
      await handset.page.getByRole('dialog').waitFor();
      await shoot(patient.page, 'payment');
      await shoot(handset.page, 'handset-prompt');
    });
    await step(t, 'a wrong PIN is said plainly and can be tried again', async () => {
      await handset.page.getByLabel('M-PESA PIN').fill('9999');
      await handset.page.getByRole('button', { name: 'OK' }).click();
      await patient.page.getByText('The PIN was wrong').waitFor();
      await shoot(patient.page, 'payment-wrong-pin');
      await patient.page.getByRole('button', { name: 'Try again' }).click();
      const again = patient.page.getByRole('button', { name: /^Pay KSh/ });
      if (await again.isVisible().catch(() => false)) await again.click();
      await handset.page.getByRole('dialog').waitFor();
    });
    await step(t, 'the right PIN pays; receipt on screen and by SMS', async () => {
      await handset.page.getByLabel('M-PESA PIN').fill('1234');
      await handset.page.getByRole('button', { name: 'OK' }).click();
      await patient.page.getByText('Paid. Thank you!').waitFor();
      await accessible(patient.page, 'payment');
      await shoot(patient.page, 'paid');
      await sms(someone.msisdn, /payment/i);
      const receipt = await patient.page.getByRole('link', { name: 'Receipt (PDF)' }).getAttribute('href');
      const pdf = await patient.context.request.get(receipt);
      assert.equal(pdf.status(), 200);
      assert.equal((await pdf.body()).subarray(0, 4).toString(), '%PDF');
    });
    await step(t, 'summary, prescription and who saw the record are in the portal', async () => {
      await patient.page.goto('/visits');
      await patient.page.locator('main a[href*="/visits/"]').first().click();
      await patient.page.getByText('Uncomplicated malaria is likely.').waitFor();
      await patient.page.getByText(/paracetamol/i).first().waitFor();
      await accessible(patient.page, 'visit summary');
      await shoot(patient.page, 'summary');
      const href = await patient.page.getByRole('link', { name: /Prescription.*PDF/ }).getAttribute('href');
      assert.equal((await patient.context.request.get(href)).status(), 200);
      await patient.page.goto('/who-saw');
      await patient.page.locator('main li').first().waitFor();
      await shoot(patient.page, 'who-saw');
    });
    await step(t, 'the cashier sees the takings of the day', async () => {
      await signIn(cashier.page, 'cashier');
      await cashier.page.goto('/cashier/day');
      await cashier.page.getByText('M-PESA').first().waitFor();
      await cashier.page.getByText(/Wambui/).first().waitFor();
      await accessible(cashier.page, 'cashier');
      await shoot(cashier.page, 'cashier-day');
    });
    await step(t, 'the administrator sees users, appointments and who opened the record', async () => {
      await signIn(administrator.page, 'admin');
      await administrator.page.goto('/admin');
      await administrator.page.getByRole('heading', { level: 1 }).waitFor();
      await administrator.page.getByText(/Wambui/).first().waitFor();
      await accessible(administrator.page, 'overview');
      await shoot(administrator.page, 'admin');
      await administrator.page.goto('/admin/users');
      await administrator.page.getByText(DOCTOR).first().waitFor();
      await shoot(administrator.page, 'admin-users');
      await administrator.page.goto('/admin/audit');
      await administrator.page.locator('main').getByText(/Wambui|consultation|Patient/).first().waitFor();
      await accessible(administrator.page, 'audit');
      await shoot(administrator.page, 'admin-audit');
    });
    for (const one of [patient, doctor, cashier, administrator]) assert.deepEqual(one.errors, []);
  } catch (error) {
    for (const [name, one] of Object.entries({ patient, doctor, handset, cashier, administrator })) {
      await one.page.screenshot({ path: new URL(`../results/failed-${name}.png`, import.meta.url).pathname }).catch(() => {});
    }
    throw error;
  }
});

test('a call forced through the relay', { timeout: 300_000 }, async (t) => {
  const someone = { given: 'Baraka', family: 'Katana', phone: '0712 345 602', msisdn: '254712345602' };
  const [patient, doctor, handset] = await Promise.all([person(browser, PHONE), person(browser, DESK), person(browser, PHONE)]);
  await instrument(patient.context, { relay: true });
  await instrument(doctor.context, { relay: true });
  await register(t, patient, handset, someone);
  const appointment = await book(t, patient, { ...someone, reason: 'Follow-up' });
  await waits(t, patient, appointment, false);
  await signIn(doctor.page, DOCTOR);
  await callBegins(t, patient, doctor, someone.family, 'relay', false);
  await step(t, 'mute and camera off are shown to the other side', async () => {
    await control(patient.page, 'Mute').click();
    await doctor.page.locator('section.call').getByText(/muted/i).first().waitFor();
  });
  assert.deepEqual(patient.errors, []);
  assert.deepEqual(doctor.errors, []);
});
