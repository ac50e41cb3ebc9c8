// What a patient does in her portal, for herself or for whom she acts.
import { sandbox, until } from './world.mjs';

/** Chooses a doctor of general practice and the first free time, and books. `look(page, name)` sees each step. Returns the appointment's id. */
export async function bookVisit(page, provider, { kind, reason, look = undefined }) {
  await page.goto('/book');
  await page.getByRole('link', { name: /General practice/ }).click();
  await page.getByLabel('Language').first().waitFor();
  if (look) await look(page, 'book-person');
  await page.locator(`a[href*="${provider}"]`).click();
  await page.getByRole('radio', { name: kind }).check();
  await page.locator('ul.list a.item').first().click();
  await page.locator('ul.times a').first().waitFor();
  if (look) await look(page, 'book-time');
  await page.locator('ul.times a').first().click();
  await page.getByLabel('What is it about?').fill(reason);
  if (look) await look(page, 'book-check');
  await page.getByRole('button', { name: 'Book this visit' }).click();
  await page.waitForURL(/\/appointments\//);
  return page.url().split('/').at(-1);
}

/** Checks camera, microphone and relay, and takes a seat in the waiting room. */
export async function enterWaitingRoom(page, appointment, look = undefined) {
  await page.goto(`/visit/${appointment}`);
  await page.getByRole('button', { name: 'Start the checks' }).click();
  await page.getByText('Ready for the call').waitFor();
  await page.getByText('You can be seen').waitFor();
  if (look) await look(page, 'precall');
  await page.getByRole('button', { name: 'Enter the waiting room' }).click();
  await page.getByRole('heading', { name: /will be with you soon/ }).waitFor();
  if (look) await look(page, 'waiting-room');
}

/** Switches to the record of somebody for whom she acts. */
export async function actFor(page, name) {
  await page.goto('/home');
  await page.getByLabel('Switch to another record').selectOption({ label: name });
  await page.getByText(`You are acting for ${name}`).waitFor();
}

/** Pays the open bill of whom she acts for by M-PESA; the prompt comes to this phone, whose owner types the PIN. */
export async function payByPhone(page, name, msisdn) {
  await page.goto('/home');
  await page.getByRole('link', { name: 'Pay with M-PESA' }).click();
  await page.getByText(`You are acting for ${name}`).waitFor();
  await page.getByLabel('M-PESA number').fill(`+${msisdn}`);
  await page.getByRole('button', { name: /^Pay KSh/ }).click();
  await page.getByRole('heading', { name: 'Check your phone' }).waitFor();
  await until('M-PESA prompt', () => sandbox('GET', `handsets/${msisdn}/prompt`).catch(() => undefined));
  await sandbox('POST', `handsets/${msisdn}/prompt`, { pin: '1234' });
  await page.getByText('Paid. Thank you!').waitFor();
}
