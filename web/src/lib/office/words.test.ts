import { expect, test } from 'vitest';
import enAdmin from '$lib/i18n/en/admin.json';
import enCashier from '$lib/i18n/en/cashier.json';
import { fill, parametersOf } from '$lib/i18n/message';
import swAdmin from '$lib/i18n/sw/admin.json';
import swCashier from '$lib/i18n/sw/cashier.json';

test.each([
  ['admin', enAdmin, swAdmin],
  ['cashier', enCashier, swCashier]
])('%s says the same in both languages', (_, en: Record<string, string>, sw: Record<string, string>) => {
  expect(Object.keys(sw)).toEqual(Object.keys(en));
  const wrong = Object.keys(en).filter(
    (key) => !sw[key] || JSON.stringify(parametersOf(en[key]!)) !== JSON.stringify(parametersOf(sw[key]!))
  );
  expect(wrong).toEqual([]);
});

test('counts read well', () => {
  const sum = enCashier['collect.sum'];
  expect(fill(sum, 'en', { count: 1, amount: 'KSh 500' })).toBe('1 invoice, KSh 500 to collect');
  expect(fill(sum, 'en', { count: 12, amount: 'KSh 500' })).toBe('12 invoices, KSh 500 to collect');
  expect(fill(swAdmin['job.replayed'], 'sw', { count: 3 })).toBe('Kazi 3 zinaendelea tena');
});
