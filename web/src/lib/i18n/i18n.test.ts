import { expect, it, vi } from 'vitest';

vi.stubGlobal('document', { documentElement: { lang: '', dir: '' } });
vi.stubGlobal('navigator', { language: 'en-GB' });
vi.stubGlobal('localStorage', { getItem: () => null, setItem: () => undefined });

const { i18n, t } = await import('./index.svelte');

it('keeps every catalogue when the language changes while some are on their way', async () => {
  const first = i18n.need('core');
  const second = i18n.need('home');
  const change = i18n.use('sw', false);
  const third = i18n.need('shared');
  await Promise.all([first, second, change, third]);
  expect(i18n.locale).toBe('sw');
  expect([t('action.back'), t('nav.home'), t('sex.female'), t('payment.paid')]).toEqual(['Rudi', 'Mwanzo', 'Mwanamke', 'Imelipwa']);
  expect(document.documentElement.lang).toBe('sw');
  await i18n.use('en', false);
  expect([t('action.back'), t('nav.home')]).toEqual(['Back', 'Home']);
});
