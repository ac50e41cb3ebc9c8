// Acting for somebody, from the portal itself: a patient lets her sister act, who reads, books, joins a video visit and
// pays for her, until it ends before her eyes; and a mother who does the same for her child.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api, call, openAlways, registered, signedIn } from '../lib/api.mjs';
import { instrument, untilFramesMove, untilPhase } from '../lib/call.mjs';
import { actFor, bookVisit, enterWaitingRoom, payByPhone } from '../lib/portal.mjs';
import { DESK, OTHER_DOCTOR as DOCTOR, PHONE, WAIT_MS, accessible, openBrowser, person, shoot, signIn, stands, step } from '../lib/world.mjs';

/** Told apart from other runs on the same hospital. */
const RUN = Date.now() % 100_000;
const SECRET = 'kahawa-na-mandazi';

let browser;
let desk;
const doctor = {};

before(async () => {
  browser = await openBrowser();
  const session = await signedIn(DOCTOR);
  Object.assign(doctor, { token: session.token, id: session.user.practitioner_id });
  await openAlways('video', { slot_minutes: 5, lead_minutes: 0 }, doctor.token, doctor.id);
  desk = (await signedIn('reception')).token;
});
after(() => browser?.close());

const patient = (number, given, family) =>
  registered({ phone: `2547${String(40_000_000 + RUN * 10 + number).padStart(8, '0')}`, given, family, password: SECRET });

/** A page with a camera, and what tells of its calls. */
async function portal(login) {
  const opened = await person(browser, PHONE);
  await instrument(opened.context);
  await signIn(opened.page, login, SECRET);
  return opened;
}

/** She books, sits in the waiting room and sees the doctor, for the patient of this name. Returns the visit's id. */
async function seesTheDoctor(acting, name, reason, shot) {
  const { page } = acting;
  const visit = await step('books a video visit', async () => {
    const id = await bookVisit(page, doctor.id, { kind: /Video/, reason });
    await page.getByText(`You are acting for ${name}`).waitFor();
    return id;
  });
  const clinic = await person(browser, DESK);
  await instrument(clinic.context);
  await step('joins, is admitted, and is seen and heard', async () => {
    await enterWaitingRoom(page, visit);
    await accessible(page, `waiting for ${name}`);
    await shoot(page, `${shot}-waiting`);
    await signIn(clinic.page, DOCTOR);
    await clinic.page.goto('/clinic');
    const row = clinic.page.locator('li', { hasText: name.split(' ').at(-1) }).filter({ has: clinic.page.getByRole('button', { name: 'Admit' }) });
    await row.getByRole('button', { name: 'Admit' }).click();
    await clinic.page.waitForURL(/\/clinic\/consultation\//);
    for (const one of [page, clinic.page]) {
      await untilPhase(one, 'active', WAIT_MS);
      await untilFramesMove(one, 10, WAIT_MS);
    }
  });
  await step('the doctor ends the visit', async () => {
    await clinic.page.getByLabel('Assessment').fill('A common cold');
    await clinic.page.getByLabel('Plan').fill('Rest and much water');
    await clinic.page.getByLabel('Plan').press('Tab');
    await clinic.page.getByText(/^Saved \d/).first().waitFor();
    await clinic.page.getByRole('button', { name: 'End call' }).first().click();
    await clinic.page.getByRole('dialog').getByRole('button', { name: 'End call' }).click();
    await page.getByRole('heading', { name: 'The call has ended' }).waitFor();
    await clinic.page.getByRole('button', { name: 'Finish visit' }).click();
    await clinic.page.getByRole('dialog').getByRole('button', { name: 'Finish visit' }).click();
    await clinic.page.waitForURL(/\/clinic$/);
  });
  assert.deepEqual(clinic.errors, []);
  await clinic.context.close();
  return visit;
}

test('a patient lets her sister act, and ends it before her eyes', { timeout: 400_000 }, async () => {
  const [zawadi, rehema] = [await patient(1, 'Zawadi', `Kimani${RUN}`), await patient(2, 'Rehema', `Kimani${RUN}`)];
  const own = await portal(zawadi.login);
  const dialog = own.page.getByRole('dialog');
  await step('she gives access in her own portal', async () => {
    await own.page.goto('/sharing');
    await own.page.getByRole('button', { name: 'Give access' }).click();
    await dialog.getByLabel('Their phone number or e-mail').fill(rehema.login);
    await dialog.getByLabel('Their family name').fill(rehema.family);
    await stands(own.page);
    await accessible(own.page, 'give access to my record');
    await shoot(own.page, 'proxy-own');
    await dialog.getByRole('button', { name: 'Give access' }).click();
    await own.page.getByText(`${rehema.name} can act from now on`).waitFor();
    await own.page.getByRole('button', { name: `End the access of ${rehema.name}` }).waitFor();
  });
  const sister = await portal(rehema.login);
  await step('her sister finds the record and reads it', async () => {
    await actFor(sister.page, zawadi.name);
    await shoot(sister.page, 'acting-adult');
    for (const path of ['/visits', '/medicines', '/payments', '/appointments']) {
      await sister.page.goto(path);
      await sister.page.getByText(`You are acting for ${zawadi.name}`).waitFor();
      await sister.page.getByRole('heading', { level: 1 }).waitFor();
      assert.equal(await sister.page.getByText('You do not have access to this').count(), 0, path);
    }
  });
  const visit = await seesTheDoctor(sister, zawadi.name, 'Cough for three days', 'acting-adult');
  await step('her sister pays from her own phone', async () => {
    await payByPhone(sister.page, zawadi.name, rehema.phone);
    await shoot(sister.page, 'acting-adult-paid');
    const paid = await api('GET', `appointments/${visit}`, zawadi.token);
    assert.equal(paid.payment_status, 'paid');
  });
  await step('she sees that her sister looked', async () => {
    await own.page.goto('/who-saw');
    await own.page.getByText(rehema.name).first().waitFor();
  });
  const token = (await signedIn(rehema.login, SECRET)).token;
  await step('she ends it; the screen that is open shows nothing more', async () => {
    await sister.page.goto(`/visits/${visit}`);
    await sister.page.getByText('Rest and much water').waitFor();
    assert.equal((await call('GET', `/api/v1/patients/${zawadi.id}/visits`, token)).status, 200);
    await own.page.goto('/sharing');
    await own.page.getByRole('button', { name: `End the access of ${rehema.name}` }).click();
    await dialog.getByRole('button', { name: 'End now' }).click();
    await own.page.getByText(`${rehema.name} has no access any more`).waitFor();
    for (const path of [`patients/${zawadi.id}/visits`, `consultations/${visit}/note`]) {
      assert.notEqual((await call('GET', `/api/v1/${path}`, token)).status, 200, path);
    }
    await sister.page.getByText('Rest and much water').waitFor({ state: 'detached' });
    await sister.page.getByText(`You do not act for ${zawadi.name} any more`).waitFor();
    await accessible(sister.page, 'access that ended');
    await shoot(sister.page, 'acting-ended');
    await sister.page.getByRole('heading', { name: 'Hello, Rehema' }).waitFor();
    await sister.page.reload();
    await sister.page.getByRole('heading', { name: 'Hello, Rehema' }).waitFor();
    assert.equal(await sister.page.getByText(zawadi.name).count(), 0);
  });
  assert.deepEqual([...own.errors, ...sister.errors], []);
});

test('a mother sees the doctor for her child and pays', { timeout: 400_000 }, async () => {
  const mother = await patient(3, 'Mariam', `Ali${RUN}`);
  const made = await api('POST', 'patients?confirm_new=true', desk, { given: 'Idris', family: `Ali${RUN}`, birth_date: '2021-03-04', sex: 'male' });
  const idris = `Idris Ali${RUN}`;
  await api('POST', `patients/${made.id}/proxies`, desk, {
    contact: mother.login,
    family: mother.family,
    basis: 'parent',
    relationship: 'MTH',
    classes: [],
    sealed: false
  });
  const own = await portal(mother.login);
  await actFor(own.page, idris);
  const visit = await seesTheDoctor(own, idris, 'Fever since yesterday', 'acting-child');
  await step('she pays, and reads what was found', async () => {
    await payByPhone(own.page, idris, mother.phone);
    await own.page.goto(`/visits/${visit}`);
    await own.page.getByText('Rest and much water').waitFor();
    await own.page.getByText(`You are acting for ${idris}`).waitFor();
    await accessible(own.page, 'a visit of a child');
    await shoot(own.page, 'acting-child-visit');
  });
  assert.deepEqual(own.errors, []);
});
