import { expect, test } from 'vitest';
import en from '$lib/i18n/en/notice.json';
import { placeOf } from './notices';

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
  'proxy.granted',
  'proxy.ending'
];

test('every topic has its words, for officers and for whom it is about', () => {
  for (const topic of TOPICS) {
    for (const reader of ['officer', 'own']) expect(Object.keys(en)).toContain(`notice.${reader}.${topic}`);
  }
});

test('officers are led to what a notice is about', () => {
  expect(placeOf({ topic: 'emergency.begun', subject: '7' })).toBe('/admin/emergencies/7');
  expect(placeOf({ topic: 'rights.asked', subject: '7' })).toBe('/admin/rights/changes');
  expect(placeOf({ topic: 'proxy.granted', subject: '7' })).toBeUndefined();
});
