import { expect, test } from 'vitest';
import type { Me } from '$lib/api/types';
import en from '$lib/i18n/en/notice.json';
import { flavour, placeOf, type Notice } from './places';

/** As the API document lists them. */
const TOPICS = [
  'emergency.begun',
  'emergency.overdue',
  'emergency.reviewed',
  'rights.changed',
  'rights.asked',
  'rights.agreed',
  'rights.refused',
  'sensitivity.changed',
  'proxy.asked',
  'proxy.confirmed',
  'proxy.refused',
  'proxy.granted',
  'proxy.ending',
  'account-change.asked',
  'account-change.agreed',
  'account-change.refused',
  'account-change.alone',
  'account-change.expired',
  'client-change.asked',
  'client-change.agreed',
  'client-change.refused',
  'client-change.alone',
  'client-change.expired',
  'client.leads',
  'account.reopened',
  'account.decider-left'
];

const me = (roles: Me['roles'], more: Partial<Me> = {}) => ({ account_id: '1', roles, ...more }) as Me;
type More = Partial<Omit<Notice, 'data'>> & { data?: object };
const notice = (topic: string, more: More = {}): Notice =>
  ({
    id: 'n',
    at: '2026-11-22T10:00:00Z',
    topic,
    subject: '7',
    data: {},
    seen: false,
    ...more
  }) as Notice;

test('every topic has its words, for those who watch and for whom it is about', () => {
  for (const topic of TOPICS) {
    for (const reader of ['officer', 'own']) expect(Object.keys(en)).toContain(`notice.${reader}.${topic}`);
  }
});

test('who acts for a patient is told so, not that somebody acts for her', () => {
  expect(flavour(notice('proxy.granted', { data: { account: 1 } }), me(['patient']))).toBe('acting');
  expect(flavour(notice('proxy.granted', { data: { account: 2 } }), me(['patient']))).toBe('own');
  expect(flavour(notice('proxy.granted', { role: 'privacy-officer' }), me(['privacy-officer']))).toBe('officer');
});

test('everybody is led to what she may open', () => {
  const officer = { role: 'privacy-officer' };
  expect(placeOf(notice('emergency.begun', officer), me(['privacy-officer']))).toBe('/admin/emergencies/7');
  expect(placeOf(notice('emergency.begun', { patient_id: 'p' }), me(['patient'], { patient_id: 'p' }))).toBe('/who-saw');
  expect(placeOf(notice('emergency.reviewed'), me(['doctor']))).toBeUndefined();
  expect(placeOf(notice('rights.asked', officer), me(['privacy-officer']))).toBe('/admin/rights/changes');
  expect(placeOf(notice('proxy.asked', { role: 'front-desk', patient_id: 'p' }), me(['front-desk']))).toBe('/desk/patients/p');
  expect(placeOf(notice('proxy.asked', officer), me(['privacy-officer']))).toBe('/admin/grants');
  expect(placeOf(notice('proxy.granted', officer), me(['privacy-officer']))).toBeUndefined();
  expect(placeOf(notice('proxy.granted'), me(['patient']))).toBe('/sharing');
  expect(placeOf(notice('account-change.asked', officer), me(['privacy-officer']))).toBe('/admin/rights/accounts');
  expect(placeOf(notice('client-change.agreed'), me(['administrator']))).toBe('/admin/rights/accounts');
  expect(placeOf(notice('client.leads', officer), me(['administrator', 'privacy-officer']))).toBe('/admin/apps/7');
  expect(placeOf(notice('client.leads', officer), me(['privacy-officer']))).toBeUndefined();
  expect(placeOf(notice('account.reopened', { data: { about: 9 } }), me(['administrator']))).toBe('/admin/users/9');
  expect(placeOf(notice('account-change.alone'), me(['doctor']))).toBeUndefined();
});
