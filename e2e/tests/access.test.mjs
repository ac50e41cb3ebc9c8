// People's rights in real browsers: an application asks and is refused again, a chart opened in an emergency and reviewed, a
// consent that holds at once in both directions, and a mother who acts for her child.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { pageApi } from '../lib/account.mjs';
import { api, bookedInPerson, call, openAlways, registered, signedIn } from '../lib/api.mjs';
import { Application } from '../lib/application.mjs';
import { DESK, DOCTOR, OTHER_DOCTOR, PASSWORD, PHONE, URL_BASE, accessible, openBrowser, person, shoot, signIn, sms, until, step, stands } from '../lib/world.mjs';

const ICD = 'http://hl7.org/fhir/sid/icd-10';
const LOINC = 'http://loinc.org';
/** Told apart from other runs on the same hospital. */
const RUN = Date.now() % 100_000;
const SECRET = 'kahawa-na-mandazi';

let browser;
let application;
let staff;

/** A resource over FHIR; returns its id. */
async function put(token, resource) {
  const reply = await call('POST', `/fhir/R4/${resource.resourceType}`, token, resource, { 'content-type': 'application/fhir+json' });
  assert.equal(reply.status, 201, reply.text);
  return reply.json.id;
}
const fhir = (path, token) => call('GET', `/fhir/R4/${path}`, token);

const patient = (number, given, family) =>
  registered({ phone: `2547${String(30_000_000 + RUN * 10 + number).padStart(8, '0')}`, given, family, password: SECRET });
before(async () => {
  browser = await openBrowser();
  application = await Application.open();
  const admin = (await signedIn('admin')).token;
  await application.register(admin, `Growth charts ${RUN}`, [
    'openid',
    'fhirUser',
    'launch',
    'launch/patient',
    'offline_access',
    'patient/Patient.rs',
    'patient/Observation.rs',
    'patient/Appointment.cruds'
  ]);
  const [doctor, other, desk] = [await signedIn(DOCTOR), await signedIn(OTHER_DOCTOR), await signedIn('reception')];
  staff = {
    doctor: doctor.token,
    provider: doctor.user.practitioner_id,
    doctorName: doctor.user.display,
    other: other.token,
    otherProvider: other.user.practitioner_id,
    otherName: other.user.display,
    desk: desk.token
  };
});
after(async () => {
  await browser?.close();
  application?.close();
});

/** What the bell opens. */
const notices = (page) => page.getByRole('region', { name: 'Notices' });

/** A child that the desk registers. */
async function child(family) {
  const made = await api('POST', 'patients?confirm_new=true', staff.desk, { given: 'Baraka', family, birth_date: '2020-05-06', sex: 'male' });
  return made.id;
}

test('an application asks, reads, and is shut out again', { timeout: 240_000 }, async () => {
  const amina = await patient(1, 'Amina', `Wanjiru${RUN}`);
  const { page, errors } = await person(browser, PHONE);
  const wanted = 'openid fhirUser launch/patient offline_access patient/Patient.rs patient/Observation.rs patient/Appointment.cruds';
  await step('the application sends her to sign in, and she comes back to the question', async () => {
    await page.goto(application.ask(wanted));
    await page.waitForURL(/\/sign-in\?next=/);
    await page.getByLabel('Phone number, e-mail or user name').fill(amina.login);
    await page.getByLabel('Password', { exact: true }).fill(SECRET);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByRole('heading', { name: `${application.name} asks to use a health record` }).waitFor();
  });
  await step('she sees who asks, where it goes back to and what for', async () => {
    await page.getByText(new URL(application.base).host).waitFor();
    await page.getByText(`You are signed in as ${amina.name}`).waitFor();
    await page.getByRole('checkbox', { name: /Results and measurements/ }).waitFor();
    await accessible(page, 'an application asks');
    await shoot(page, 'authorize');
  });
  await step('she refuses, and the application is told', async () => {
    await page.getByRole('button', { name: 'Do not allow' }).click();
    await page.getByText('Back at the application').waitFor();
    assert.equal(application.answer.error, 'access_denied');
  });
  const token = await step('she takes changing away and allows the rest', async () => {
    await page.goto(application.ask(wanted));
    await page.getByRole('checkbox', { name: /^Appointments/ }).uncheck();
    await page.getByRole('button', { name: 'Allow', exact: true }).click();
    await page.getByText('Back at the application').waitFor();
    return application.token();
  });
  await step('it reads what she allowed and nothing else', async () => {
    assert.equal(token.patient, amina.id);
    assert.ok(!token.scope.includes('Appointment'), token.scope);
    assert.equal((await fhir(`Patient/${amina.id}`, token.access_token)).status, 200);
    assert.equal((await fhir(`Observation?patient=${amina.id}`, token.access_token)).status, 200);
    assert.equal((await fhir(`Appointment?patient=${amina.id}`, token.access_token)).status, 403);
    assert.equal((await call('GET', '/api/v1/me', token.access_token)).status, 401);
  });
  await step('a question that is over says so', async () => {
    await page.goto('/authorize?request=nothing');
    await page.getByText('This question is over').waitFor();
    await accessible(page, 'a question that is over');
  });
  await step('she finds it among her apps and ends it; its token opens nothing any more', async () => {
    await page.goto('/settings/apps');
    await page.getByRole('heading', { name: application.name }).waitFor();
    await page.getByText(/What it may do/).click();
    await accessible(page, 'connected apps');
    await shoot(page, 'apps');
    await page.getByRole('button', { name: `End access of ${application.name}` }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'End access now' }).click();
    await page.getByText('No app has access').waitFor();
    assert.equal((await fhir(`Patient/${amina.id}`, token.access_token)).status, 401);
  });
  await step('she sees that the application looked', async () => {
    await page.goto('/who-saw?own=yes');
    await page.getByText(`Through ${application.name}`).first().waitFor();
  });
  assert.deepEqual(errors, []);
});

test('a doctor opens an application from the chart', { timeout: 240_000 }, async () => {
  const zuhura = await patient(2, 'Zuhura', `Mwangi${RUN}`);
  await bookedInPerson(staff.doctor, staff.provider, staff.desk, zuhura.id, true);
  const { page, context, errors } = await person(browser, DESK);
  await signIn(page, DOCTOR);
  await page.goto(`/clinic/patients/${zuhura.id}`);
  await page.getByRole('button', { name: 'Open an app' }).click();
  await accessible(page, 'the menu of applications');
  const [tab] = await Promise.all([
    context.waitForEvent('page'),
    page.getByRole('menuitem', { name: application.name }).click()
  ]);
  await tab.getByRole('heading', { name: `${application.name} asks to use a health record` }).waitFor();
  await tab.getByText(zuhura.name).waitFor();
  assert.equal(application.launched.iss, `${URL_BASE}/fhir/R4`);
  await shoot(tab, 'authorize-launch');
  await tab.getByRole('button', { name: 'Allow', exact: true }).click();
  await tab.getByText('Back at the application').waitFor();
  assert.equal((await application.token()).patient, zuhura.id);
  await page.goto('/account/apps');
  await page.getByText(zuhura.name).first().waitFor();
  await accessible(page, 'connected apps of staff');
  await shoot(page, 'apps-staff');
  assert.deepEqual(errors, []);
});

test('from a closed chart to the review', { timeout: 240_000 }, async () => {
  const grace = await patient(3, 'Grace', `Otieno${RUN}`);
  const doctor = await person(browser, DESK);
  await signIn(doctor.page, OTHER_DOCTOR);
  await step('the chart is closed, and says why', async () => {
    await doctor.page.goto(`/clinic/patients/${grace.id}`);
    await doctor.page.getByText(`The chart of ${grace.name} is closed to you`).waitFor();
    await accessible(doctor.page, 'a closed chart');
    await shoot(doctor.page, 'chart-closed');
  });
  await step('a reason and an explanation are needed', async () => {
    await doctor.page.getByRole('button', { name: 'Emergency access' }).click();
    const dialog = doctor.page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Open the chart now' }).click();
    await dialog.getByRole('link', { name: 'Choose a reason' }).waitFor();
    await stands(doctor.page);
    await accessible(doctor.page, 'emergency access');
    await shoot(doctor.page, 'emergency-begin');
    await dialog.getByLabel('The patient cannot say who she is or what she has').check();
    await dialog.getByLabel('Why it cannot wait').fill('Found unconscious at the gate, breathing badly.');
    await dialog.getByLabel('How long').selectOption('30');
    // Who has no second factor types her password anew, within a minute; on a slow machine the sign-in is older than that.
    await dialog.getByText('You have no second factor').waitFor();
    await pageApi(doctor.page, 'POST', 'auth/step-up', { password: PASSWORD });
    await dialog.getByRole('button', { name: 'Open the chart now' }).click();
  });
  await step('the chart opens, the banner runs, the patient is told', async () => {
    await doctor.page.getByText(`Emergency access: ${grace.name}`).waitFor();
    await doctor.page.getByText('30 minutes left').waitFor();
    await doctor.page.getByRole('heading', { name: 'Allergies' }).waitFor();
    await accessible(doctor.page, 'a chart in an emergency');
    await shoot(doctor.page, 'emergency-running');
    await sms(grace.phone, /opened in an emergency/);
  });
  await step('what she writes meanwhile lets a colleague in, until it is over', async () => {
    await put(staff.other, {
      resourceType: 'CareTeam',
      status: 'active',
      subject: { reference: `Patient/${grace.id}` },
      participant: [{ member: { reference: `Practitioner/${staff.provider}` } }]
    });
    assert.equal((await call('GET', `/api/v1/patients/${grace.id}/chart`, staff.doctor)).status, 200);
  });
  await step('ended, the chart is closed at once', async () => {
    await doctor.page.getByRole('button', { name: 'End now' }).click();
    await doctor.page.getByText(`The chart of ${grace.name} is closed to you`).waitFor();
    assert.notEqual((await call('GET', `/api/v1/patients/${grace.id}/chart`, staff.other)).status, 200);
    assert.notEqual((await call('GET', `/api/v1/patients/${grace.id}/chart`, staff.doctor)).status, 200);
  });
  const officer = await person(browser, DESK);
  await signIn(officer.page, 'privacy');
  await step('the privacy officer is told of it, finds it, sees what was read, and decides', async () => {
    await officer.page.goto('/admin');
    const bell = officer.page.getByRole('button', { name: /^Notices, \d+ new$/ });
    await bell.click();
    const told = notices(officer.page).getByRole('listitem').filter({ hasText: 'Somebody opened a closed record in an emergency.' });
    await told.first().waitFor();
    await accessible(officer.page, 'notices of the privacy officer');
    await shoot(officer.page, 'officer-notices');
    const unseen = told.getByRole('button', { name: /^Seen:/ });
    const before = await unseen.count();
    await unseen.first().click();
    await until('a notice that was seen is no longer new', async () => (await unseen.count()) === before - 1);
    await told.first().getByRole('link').click();
    await officer.page.waitForURL('**/admin/emergencies/*');
    await officer.page.goto('/admin/emergencies');
    const row = officer.page.getByRole('row', { name: new RegExp(grace.name) });
    await row.waitFor();
    await accessible(officer.page, 'reviews');
    await shoot(officer.page, 'emergencies');
    await row.getByRole('link').click();
    await officer.page.getByText('Found unconscious at the gate').waitFor();
    await officer.page.getByRole('cell', { name: /Allergies/ }).first().waitFor();
    const let_in = officer.page.getByRole('listitem').filter({ hasText: staff.doctorName });
    await let_in.getByText(/^Ended/).waitFor();
    await let_in.getByText(new RegExp(`Written by ${staff.otherName}`)).waitFor();
    await accessible(officer.page, 'one review');
    await shoot(officer.page, 'emergency-review');
    await officer.page.getByRole('radio', { name: /^Not justified/ }).check();
    await officer.page.getByRole('button', { name: 'Save the review' }).click();
    await officer.page.getByRole('link', { name: 'Say what is to follow' }).waitFor();
    await officer.page.getByLabel('Comment').fill('Ask him on Monday.');
    await officer.page.getByRole('button', { name: 'Save the review' }).click();
    await officer.page.waitForURL('**/admin/emergencies');
    await officer.page.getByText('The review is saved').waitFor();
    assert.equal(await officer.page.getByRole('row', { name: new RegExp(grace.name) }).count(), 0);
  });
  await step('the patient reads by whom, why, and what came of it', async () => {
    const own = await person(browser, PHONE);
    await signIn(own.page, grace.login, SECRET);
    await own.page.goto('/who-saw');
    await own.page.getByText('Found unconscious at the gate').waitFor();
    await own.page.getByText(/Reviewed: Not justified/).waitFor();
    assert.equal(await own.page.getByText('Ask him on Monday').count(), 0);
    await own.page.getByText('In an emergency').first().waitFor();
    await accessible(own.page, 'who saw my record');
    await shoot(own.page, 'who-saw-emergency');
    await own.page.getByText('Emergency', { exact: true }).click();
    await own.page.waitForURL(/kind=emergencies/);
    assert.deepEqual(own.errors, []);
  });
  assert.deepEqual([...doctor.errors, ...officer.errors], []);
});

test('a consent holds at once, and so does its end', { timeout: 240_000 }, async () => {
  const neema = await patient(4, 'Neema', `Achieng${RUN}`);
  await bookedInPerson(staff.doctor, staff.provider, staff.desk, neema.id, true);
  await bookedInPerson(staff.other, staff.otherProvider, staff.desk, neema.id, true);
  const about = { subject: { reference: `Patient/${neema.id}` } };
  const sealed = await put(staff.doctor, { resourceType: 'Condition', ...about, code: { coding: [{ system: ICD, code: 'B20' }] } });
  const plain = await put(staff.doctor, {
    resourceType: 'Observation',
    ...about,
    status: 'final',
    code: { coding: [{ system: LOINC, code: '8867-4' }] },
    effectiveDateTime: '2026-11-20T08:00:00Z',
    valueQuantity: { value: 72, unit: '/min', system: 'http://unitsofmeasure.org', code: '/min' }
  });
  const other = async (what) => (await fhir(what, staff.other)).status;
  assert.equal(await other(`Condition/${sealed}`), 403);
  assert.equal(await other(`Observation/${plain}`), 200);

  const { page, errors } = await person(browser, PHONE);
  await signIn(page, neema.login, SECRET);
  const dialog = page.getByRole('dialog');
  await step('she opens what is protected to one doctor', async () => {
    await page.goto('/sharing');
    await page.getByText('No special decision').waitFor();
    await accessible(page, 'sharing');
    await shoot(page, 'sharing');
    await page.getByRole('button', { name: 'New decision' }).click();
    await dialog.getByRole('radio', { name: /may see protected facts/ }).check();
    await dialog.getByLabel('To whom').selectOption({ label: staff.otherName });
    await dialog.getByRole('checkbox', { name: 'HIV', exact: true }).check();
    await dialog.getByText(`${staff.otherName} may see: HIV.`).waitFor();
    await stands(page);
    await accessible(page, 'a new decision');
    await shoot(page, 'consent-new');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByRole('link', { name: 'Tick this to save it' }).waitFor();
    await dialog.getByRole('checkbox', { name: 'This is what I want' }).check();
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The decision is saved').waitFor();
    assert.equal(await other(`Condition/${sealed}`), 200);
  });
  await step('she takes it back, and it is closed at once', async () => {
    await page.getByRole('button', { name: `Take back the decision about: ${staff.otherName}` }).click();
    await dialog.getByRole('button', { name: 'Take back now' }).click();
    await page.getByText('The decision is taken back').waitFor();
    assert.equal(await other(`Condition/${sealed}`), 403);
  });
  const closes = page.getByRole('listitem').filter({ hasText: 'may not see: Results and measurements' });
  await step('she closes her results to him', async () => {
    await page.getByRole('button', { name: 'New decision' }).click();
    await dialog.getByLabel('To whom').selectOption({ label: staff.otherName });
    await dialog.getByRole('checkbox', { name: 'The whole record' }).uncheck();
    await dialog.getByRole('checkbox', { name: 'Results and measurements' }).check();
    await dialog.getByRole('checkbox', { name: 'This is what I want' }).check();
    await dialog.getByRole('button', { name: 'Save' }).click();
    // The sentence stands in the dialog too, as long as it is open.
    await dialog.waitFor({ state: 'hidden' });
    await closes.waitFor();
    assert.equal(await other(`Observation/${plain}`), 403);
  });
  await step('the evidence says which text, when, and by whom', async () => {
    await closes.getByText('Evidence').click();
    await page.getByText('Version 1').first().waitFor();
    await page.getByText(/Text “sharing-2026-11”, English/).first().waitFor();
    await page.getByText(`${staff.otherName} may not see: Results and measurements.`).waitFor();
    await accessible(page, 'evidence of a consent');
    await shoot(page, 'consent-evidence');
  });
  await step('the desk sees the decision, not what is protected, and takes it back for her', async () => {
    const desk = await person(browser, DESK);
    await signIn(desk.page, 'reception');
    await desk.page.goto(`/desk/patients/${neema.id}`);
    await desk.page.getByText('may not see: Results and measurements').waitFor();
    await desk.page.getByText('1 earlier decision').click();
    await desk.page.getByText('may see: protected facts').waitFor();
    assert.equal(await desk.page.getByText('HIV').count(), 0);
    await accessible(desk.page, 'a patient at the desk');
    await shoot(desk.page, 'desk-consents');
    await desk.page.getByRole('button', { name: /^Take back the decision/ }).click();
    await desk.page.getByRole('dialog').getByRole('button', { name: 'Take back now' }).click();
    await desk.page.getByText('The decision is taken back').waitFor();
    assert.equal(await other(`Observation/${plain}`), 200);
    assert.deepEqual(desk.errors, []);
  });
  assert.deepEqual(errors, []);
});

test('a mother acts for her child until it ends', { timeout: 240_000 }, async () => {
  const halima = await patient(5, 'Halima', `Juma${RUN}`);
  const son = await child(`Juma${RUN}`);
  const baraka = `Baraka Juma${RUN}`;
  const desk = await person(browser, DESK);
  await signIn(desk.page, 'reception');
  const dialog = desk.page.getByRole('dialog');
  await step('the desk writes down who decides and who acts', async () => {
    await desk.page.goto(`/desk/patients/${son}`);
    await desk.page.getByRole('button', { name: 'Give access' }).click();
    await dialog.getByLabel('Their phone number or e-mail').fill(halima.login);
    await dialog.getByLabel('Their family name').fill('Somebody');
    await dialog.getByRole('button', { name: 'Give access' }).click();
    await dialog.getByText(/No account has this number/).first().waitFor();
    await stands(desk.page);
    await accessible(desk.page, 'give access');
    await shoot(desk.page, 'proxy-give');
    await dialog.getByLabel('Their family name').fill(halima.family);
    await dialog.getByRole('button', { name: 'Give access' }).click();
    await desk.page.getByText(`${halima.name} can act from now on`).waitFor();
    await shoot(desk.page, 'desk-proxies');
  });
  await step('a decision for a child names who decides', async () => {
    await desk.page.getByRole('button', { name: 'New decision' }).click();
    await dialog.getByRole('checkbox', { name: /I read this out/ }).check();
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.getByRole('link', { name: 'This patient is not of age: say who decides' }).waitFor();
    await dialog.getByRole('radio', { name: new RegExp(halima.name) }).check();
    await dialog.getByLabel('To whom').selectOption({ label: 'Other connected systems' });
    await dialog.getByRole('button', { name: 'Save' }).click();
    await desk.page.getByText('may not see: The whole record').waitFor();
  });
  const mother = await person(browser, PHONE);
  await step('she switches to the child, and every page says so', async () => {
    await signIn(mother.page, halima.login, SECRET);
    await mother.page.waitForURL('**/home');
    await mother.page.getByText('This is your own record').waitFor();
    await mother.page.getByLabel('Switch to another record').selectOption({ label: baraka });
    await mother.page.getByText(`You are acting for ${baraka}`).waitFor();
    await mother.page.getByRole('heading', { name: 'Baraka’s health' }).waitFor();
    await accessible(mother.page, 'acting for a child');
    await shoot(mother.page, 'acting');
    for (const path of ['/visits', '/medicines', '/payments', '/sharing', '/appointments']) {
      await mother.page.goto(path);
      await mother.page.getByText(`You are acting for ${baraka}`).waitFor();
      await mother.page.getByRole('heading', { level: 1 }).waitFor();
      assert.equal(await mother.page.getByText('You do not have access to this').count(), 0, path);
      assert.equal(await mother.page.getByText('This could not be loaded').count(), 0, path);
    }
  });
  await step('she books a visit for the child', async () => {
    await openAlways('in-person', { slot_minutes: 5, lead_minutes: 0 }, staff.doctor, staff.provider);
    await mother.page.goto('/book');
    await mother.page.getByRole('link', { name: /General practice/ }).click();
    await mother.page.locator(`a[href*="${staff.provider}"]`).click();
    await mother.page.getByRole('radio', { name: /In person/ }).check();
    await mother.page.locator('ul.list a.item').first().click();
    await mother.page.locator('ul.times a').first().click();
    await mother.page.getByLabel('What is it about?').fill('Cough for three days');
    await mother.page.getByRole('button', { name: 'Book this visit' }).click();
    await mother.page.waitForURL(/\/appointments\//);
    await mother.page.getByText(`You are acting for ${baraka}`).waitFor();
    await accessible(mother.page, 'a visit for a child');
    await shoot(mother.page, 'acting-booked');
    // Who may act for somebody now began anew: sessions from before ended with the change of her account.
    halima.token = (await signedIn(halima.login, SECRET)).token;
    const booked = await api('GET', `appointments?patient_id=${son}`, halima.token);
    assert.equal(booked.items[0].patient.id, son);
  });
  await step('she sees who looked at the child’s record', async () => {
    await mother.page.goto('/who-saw');
    await mother.page.getByText('Front desk').first().waitFor();
    await mother.page.getByText(`You are acting for ${baraka}`).waitFor();
  });
  await step('an application may be given the child’s record', async () => {
    await mother.page.goto(application.ask('launch/patient patient/Patient.rs'));
    await mother.page.getByRole('radio', { name: new RegExp(baraka) }).check();
    await accessible(mother.page, 'whose record');
    await shoot(mother.page, 'authorize-child');
    await mother.page.getByRole('button', { name: 'Allow', exact: true }).click();
    await mother.page.getByText('Back at the application').waitFor();
    const token = await application.token();
    assert.equal(token.patient, son);
    assert.equal((await fhir(`Patient/${son}`, token.access_token)).status, 200);
    application.childToken = token.access_token;
  });
  await step('the desk ends it; she and the application see nothing more', async () => {
    await desk.page.getByRole('button', { name: `End the access of ${halima.name}` }).click();
    await dialog.getByRole('button', { name: 'End now' }).click();
    await desk.page.getByText(`${halima.name} has no access any more`).waitFor();
    assert.notEqual((await call('GET', `/api/v1/patients/${son}/visits`, halima.token)).status, 200);
    assert.notEqual((await fhir(`Patient/${son}`, application.childToken)).status, 200);
    await mother.page.goto('/home');
    await mother.page.getByRole('heading', { name: 'Hello, Halima' }).waitFor();
    assert.equal(await mother.page.getByText(baraka).count(), 0);
  });
  assert.deepEqual([...desk.errors, ...mother.errors], []);
});

test('a grant for an adult waits for her code, or for a second person', { timeout: 240_000 }, async () => {
  const rehema = await patient(6, 'Rehema', `Kato${RUN}`);
  const sister = await patient(7, 'Salama', `Kato${RUN}`);
  const desk = await person(browser, DESK);
  await signIn(desk.page, 'reception');
  const dialog = desk.page.getByRole('dialog');
  const actsFor = async () => (await api('GET', 'me/acting-for', (await signedIn(sister.login, SECRET)).token)).items.length;
  const give = async () => {
    await desk.page.getByRole('button', { name: 'Give access' }).click();
    await dialog.getByText(/It opens nothing yet/).waitFor();
    await dialog.getByLabel('Their phone number or e-mail').fill(sister.login);
    await dialog.getByLabel('Their family name').fill(sister.family);
    await dialog.getByRole('button', { name: 'Give access' }).click();
    await desk.page.getByText('Not in force yet.').waitFor();
  };
  await step('the desk writes it down, and nothing is open', async () => {
    await desk.page.goto(`/desk/patients/${rehema.id}`);
    await give();
    assert.equal(await actsFor(), 0);
    await stands(desk.page);
    await accessible(desk.page, 'a grant that waits');
    await desk.page.getByText('Not in force yet.').scrollIntoViewIfNeeded();
    await shoot(desk.page, 'proxy-waits');
  });
  await step('a wrong code is refused', async () => {
    await desk.page.getByRole('button', { name: /^Send a code to the patient/ }).click();
    await desk.page.getByText(/A code was sent to/).waitFor();
    await desk.page.getByRole('button', { name: 'Confirm with the code' }).click();
    await desk.page.getByRole('link', { name: 'Enter the six digits' }).waitFor();
    await desk.page.getByLabel('Code that the patient tells you').fill('000000');
    await desk.page.getByRole('button', { name: 'Confirm with the code' }).click();
    await desk.page.getByText('The code is not right.').first().waitFor();
    await stands(desk.page);
    // The bar at the top covers half of a button where the page was scrolled to what is wrong.
    await desk.page.evaluate(() => scrollTo(0, 0));
    await accessible(desk.page, 'the patient’s code');
    await desk.page.getByLabel('Code that the patient tells you').scrollIntoViewIfNeeded();
    await shoot(desk.page, 'proxy-code');
  });
  await step('her own code puts it in force, with the evidence', async () => {
    const { text } = await sms(rehema.phone, /lets .* act for you/);
    await desk.page.getByLabel('Code that the patient tells you').fill(/\b\d{6}\b/.exec(text)[0]);
    await desk.page.getByRole('button', { name: 'Confirm with the code' }).click();
    await desk.page.getByText(`${sister.name} can act from now on`).waitFor();
    await desk.page.getByText(/confirmed by the patient with a code/).waitFor();
    assert.equal(await actsFor(), 1);
    await shoot(desk.page, 'proxy-confirmed');
  });
  const officer = await person(browser, DESK);
  await step('or a second person says so, who hears of it by the bell', async () => {
    await desk.page.getByRole('button', { name: `End the access of ${sister.name}` }).click();
    await dialog.getByRole('button', { name: 'End now' }).click();
    await desk.page.getByText(`${sister.name} has no access any more`).waitFor();
    await give();
    await desk.page.getByText(/Or ask a colleague/).waitFor();
    assert.equal(await desk.page.getByRole('button', { name: /^Confirm as the second person/ }).count(), 0);
    await signIn(officer.page, 'privacy');
    await officer.page.goto('/admin');
    await officer.page.getByRole('button', { name: /^Notices, \d+ new$/ }).click();
    await notices(officer.page).getByRole('link', { name: /Somebody is to act for a patient/ }).first().click();
    await officer.page.waitForURL('**/admin/grants');
    const row = officer.page.getByRole('listitem').filter({ hasText: rehema.name });
    await row.waitFor();
    await accessible(officer.page, 'grants that wait');
    await shoot(officer.page, 'grants');
    await row.getByRole('button', { name: /^Confirm as the second person/ }).click();
    await officer.page.getByText(`${sister.name} can act from now on`).waitFor();
    assert.equal(await actsFor(), 1);
  });
  await step('the one who asked, and the patient, read that it holds', async () => {
    await desk.page.goto('/desk');
    await desk.page.getByRole('button', { name: /^Notices, \d+ new$/ }).click();
    await notices(desk.page).getByText('The right to act that you wrote down was confirmed and is in force.').first().waitFor();
    const phone = await person(browser, PHONE);
    await signIn(phone.page, rehema.login, SECRET);
    await phone.page.waitForURL('**/home');
    const bell = phone.page.getByRole('button', { name: /^Notices, \d+ new$/ });
    await bell.focus();
    await phone.page.keyboard.press('Enter');
    await notices(phone.page).getByText(/The clinic let somebody act for you/).first().waitFor();
    await accessible(phone.page, 'notices of a patient');
    await shoot(phone.page, 'patient-notices');
    await notices(phone.page).getByRole('button', { name: 'All seen' }).click();
    await phone.page.getByRole('button', { name: 'Notices', exact: true }).waitFor();
    await phone.page.keyboard.press('Escape');
    await notices(phone.page).waitFor({ state: 'hidden' });
    assert.deepEqual([...desk.errors, ...officer.errors, ...phone.errors], []);
  });
});
