import { beforeAll, describe, expect, it, vi } from 'vitest';

vi.stubGlobal('document', { documentElement: { lang: 'en', dir: 'ltr', dataset: {} } });
vi.stubGlobal('navigator', { language: 'en-GB', onLine: true });

const { i18n } = await import('$lib/i18n/index.svelte');
const date = await import('./date');
const names = await import('./names');
const medicine = await import('./medicine');
const { todayHere } = await import('./zone');

beforeAll(async () => {
  await i18n.need('core', 'shared');
  date.setZone('Africa/Nairobi');
});

describe('dates', () => {
  it.each([
    ['2026-03-12', '12 Mar 2026'],
    ['2026-09-01', '1 Sep 2026'],
    ['2026-03', 'Mar 2026'],
    ['2026', '2026'],
    ['2026-03-11T22:30:00Z', '12 Mar 2026']
  ])('%s is %s', (value, text) => expect(date.formatDate(value, 'en')).toBe(text));
  it('has Swahili months', () => expect(date.formatDate('2026-08-05', 'sw')).toBe('5 Ago 2026'));
  it('tells times in the clinic zone', () => {
    expect(date.formatTime('2026-03-12T07:30:00Z')).toBe('10:30');
    expect(date.formatMoment('2026-03-12T21:05:00Z', 'en')).toBe('13 Mar 2026, 00:05');
  });
  it('names the zone only to a clock that differs', () => {
    expect(date.zoneNote('2026-03-12T07:30:00Z', 'Africa/Kampala')).toBeUndefined();
    expect(date.zoneNote('2026-03-12T07:30:00Z', 'Europe/London')).toBe('Nairobi');
  });
  it('finds the instant of a wall clock', () => expect(date.instantAt('2026-03-12', '10:30')).toBe('2026-03-12T07:30:00Z'));
  it('knows the day and the week', () => {
    expect(todayHere(new Date('2026-03-11T21:30:00Z'))).toBe('2026-03-12');
    expect(date.mondayOf('2026-03-15')).toBe('2026-03-09');
    expect(date.addDays('2026-02-27', 2)).toBe('2026-03-01');
  });
  it.each([
    ['2026-03-01', { value: 11, unit: 'day' }],
    ['2026-01-20', { value: 7, unit: 'week' }],
    ['2025-03-12', { value: 12, unit: 'month' }],
    ['1994-03-13', { value: 31, unit: 'year' }],
    ['1994-03-12', { value: 32, unit: 'year' }],
    ['2026-03-13', undefined]
  ])('age of %s', (birth, age) => expect(date.ageOn(birth, '2026-03-12')).toEqual(age));
});

describe('money', () => {
  it.each([
    [150000, 'KES', 'KSh 1,500'],
    [150050, 'KES', 'KSh 1,500.50'],
    [-100, 'KES', '−KSh 1'],
    [123456789, 'UGX', 'USh 123,456,789'],
    [5, 'XYZ', 'XYZ 0.05']
  ])('%i %s is %s', (amount_minor, currency, text) => expect(names.formatMoney({ amount_minor, currency })).toBe(text));
  it.each([
    ['1,500', 150000],
    ['1 500.5', 150050],
    ['0.05', 5],
    ['1.005', undefined],
    ['-5', undefined],
    ['abc', undefined],
    ['', undefined]
  ])('reads %s', (text, amount) => expect(names.parseMoney(text, 'KES')).toBe(amount));
});

describe('names', () => {
  it('writes phones in groups', () => {
    expect(names.formatPhone('+254712345678')).toBe('+254 712 345 678');
    expect(names.formatPhone('+254 ••• 678')).toBe('+254 ••• 678');
  });
  it('makes initials', () => {
    expect(names.initials('Dr Barasa Wekesa')).toBe('BW');
    expect(names.initials('Amina')).toBe('A');
  });
});

describe('medicines', () => {
  it.each([
    ['.5 mg', '0.5 mg'],
    ['5.0 mg', '5 mg'],
    ['0.50mg', '0.5 mg'],
    ['1000mg', '1000 mg'],
    ['50 mcg', '50 micrograms'],
    ['50µg', '50 micrograms'],
    ['10 IU', '10 units'],
    ['10U', '10 units'],
    ['5 cc', '5 mL'],
    ['5 ml', '5 mL'],
    ['500 mg/5 ml', '500 mg/5 mL']
  ])('dose %s is written %s', (dose, safe) => expect(medicine.safeDose(dose)).toBe(safe));
  it('has Tall Man letters', () => {
    expect(medicine.tallMan('amlodipine')).toBe('amLODIPine');
    expect(medicine.tallMan('Prednisolone')).toBe('prednisoLONE');
    expect(medicine.tallMan('paracetamol')).toBe('paracetamol');
  });
  it('writes one line in the safe order', () => {
    const item = {
      name: 'amoxicillin',
      form: 'capsule',
      dose: '500mg',
      route: 'oral',
      frequency_code: 'TDS' as const,
      frequency_text: 'TDS',
      duration_days: 5,
      refills: 0
    };
    expect(medicine.medicineLine(item)).toEqual({
      name: 'amoxicillin',
      rest: 'capsule – DOSE 500 mg – by mouth – three times a day – for 5 days'
    });
    expect(medicine.medicineLine({ ...item, frequency_code: 'STAT', duration_days: 1 }).rest).toBe(
      'capsule – DOSE 500 mg – by mouth – once, now'
    );
  });
});
