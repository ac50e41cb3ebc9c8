// What is sealed from one of the doctors who treat a patient: her screens say that something is hidden, and never show an
// empty field, a raw code or the fact itself; the patient sees it all.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api, bookedInPerson, registered, signedIn } from '../lib/api.mjs';
import { DESK, DOCTOR, OTHER_DOCTOR, PHONE, accessible, openBrowser, person, shoot, signIn, step } from '../lib/world.mjs';

const RUN = Date.now() % 100_000;
const SECRET = 'kahawa-na-mandazi';
const ICD = 'http://hl7.org/fhir/sid/icd-10';

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

test('a sealed diagnosis and a sealed medicine are hidden from another doctor, and said to be', { timeout: 240_000 }, async () => {
  const [first, second, desk] = [await signedIn(DOCTOR), await signedIn(OTHER_DOCTOR), (await signedIn('reception')).token];
  const sifa = await registered({ phone: `2547${String(50_000_000 + RUN * 10).padStart(8, '0')}`, given: 'Sifa', family: `Njeri${RUN}`, password: SECRET });
  const { id: visit } = await bookedInPerson(first.token, first.user.practitioner_id, desk, sifa.id);
  await bookedInPerson(second.token, second.user.practitioner_id, desk, sifa.id, true);
  await api('POST', 'consultations', first.token, { appointment_id: visit });
  await api('POST', `consultations/${visit}/start`, first.token, {});
  await api('PUT', `consultations/${visit}/note`, first.token, {
    reason: 'Cough',
    findings: 'Oral thrush',
    assessment: 'Newly found',
    plan: 'Begin treatment',
    diagnoses: [
      { code: 'B24', display: 'Unspecified HIV disease', system: ICD },
      { code: 'J06.9', display: 'Common cold', system: ICD }
    ]
  });
  const item = (id, name) => ({ medicine_id: id, name, form: 'tablet', dose: '1 tablet', route: 'by mouth', frequency_code: 'OD', duration_days: 30, refills: 0 });
  await api('PUT', `consultations/${visit}/prescription`, first.token, { items: [item('tld-tab', 'dolutegravir combined'), item('paracetamol-tab', 'paracetamol')] });
  await api('POST', `consultations/${visit}/prescription/sign`, first.token, { acknowledge_warnings: true });
  await api('POST', `consultations/${visit}/finish`, first.token, {});

  const other = await person(browser, DESK);
  const secrets = /HIV|B24|dolutegravir|thrush|Newly found|masked|SUBSETTED|undefined/i;
  const silent = async (what) => assert.doesNotMatch(await other.page.locator('main').innerText(), secrets, what);
  await signIn(other.page, OTHER_DOCTOR);
  await step('the chart says that a diagnosis is hidden, and why', async () => {
    await other.page.goto(`/clinic/patients/${sifa.id}`);
    const hidden = other.page.getByRole('button', { name: 'Hidden' });
    await hidden.first().click();
    await other.page.getByText(/^This is sealed\./).waitFor();
    await other.page.getByText('paracetamol').first().waitFor();
    await silent('the chart');
    await accessible(other.page, 'a chart with hidden facts');
    await shoot(other.page, 'hidden-chart');
  });
  await step('the note names what is hidden and cannot be changed', async () => {
    await other.page.goto(`/clinic/consultation/${visit}`);
    await other.page.getByText('Parts of this are hidden from you').waitFor();
    assert.ok((await other.page.getByRole('button', { name: 'Hidden' }).count()) >= 5);
    await silent('the note');
    await accessible(other.page, 'a note with hidden parts');
    await shoot(other.page, 'hidden-note');
  });
  await step('the patient sees everything', async () => {
    const own = await person(browser, PHONE);
    await signIn(own.page, sifa.login, SECRET);
    await own.page.goto(`/visits/${visit}`);
    await own.page.getByText('Unspecified HIV disease').waitFor();
    await own.page.getByText('dolutegravir').first().waitFor();
    assert.equal(await own.page.getByText('Hidden', { exact: true }).count(), 0);
    assert.deepEqual(own.errors, []);
  });
  assert.deepEqual(other.errors, []);
});
