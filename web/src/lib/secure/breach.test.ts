import { expect, test } from 'vitest';
import { packFiles, sums, type Pack } from './breach';
import type { Affected } from './types';
import { bytesText, countLines } from './download';
import { crc32, zip } from './zip';

const found: Affected = {
  patients: [
    { patient_id: 'p1', count: 3, first_at: '2026-11-01T08:00:00Z', last_at: '2026-11-01T09:00:00Z', categories: { 'read Patient': 1, 'read Observation': 2 } },
    { patient_id: 'p2', count: 1, first_at: '2026-11-01T08:00:00Z', last_at: '2026-11-01T08:00:00Z', categories: { 'read Patient': 1 } }
  ],
  events: 7,
  refused: 2,
  others: [{ seq: 9, at: '2026-11-01T08:30:00Z', action: 'audit.export', what: '=cmd' }],
  other_count: 1
};
const pack: Pack = {
  clinic: 'Test clinic',
  by: 'Officer',
  at: new Date('2026-11-22T08:00:00Z'),
  question: { agent: 'account/7', from: '2026-11-01', to: '2026-11-02' },
  found,
  contacts: new Map([['p1', { name: 'Amina Wanjiru', phone: '+254712345678', record: 'UZ-000001' }]]),
  head: null,
  note: 'Lost telephone'
};

test('sums add up over all patients', () => {
  expect(sums(found)).toEqual([
    { category: 'read Observation', count: 2 },
    { category: 'read Patient', count: 2 }
  ]);
});

test('the pack says what was asked, and nothing in it runs in a spreadsheet', () => {
  const files = packFiles(pack);
  expect(files.map((file) => file.name)).toEqual(['README.txt', 'question.json', 'affected-patients.csv', 'other-accesses.csv']);
  expect(files[0]!.text).toContain('agent: account/7');
  expect(files[0]!.text).toContain('Lost telephone');
  expect(JSON.parse(files[1]!.text)).toMatchObject({ patients: 2, events: 7, refused: 2 });
  expect(files[2]!.text).toContain("p1,Amina Wanjiru,UZ-000001,'+254712345678,3,");
  expect(files[3]!.text).toContain("'=cmd");
});

test('a ZIP file has its directory and sums', () => {
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  const parts = zip([{ name: 'a.txt', text: 'hello' }], new Date('2026-11-22T08:00:00Z'));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const view = new DataView(bytes.buffer);
  const end = bytes.length - 22;
  expect(view.getUint32(end, true)).toBe(0x06054b50);
  expect(view.getUint32(view.getUint32(end + 16, true), true)).toBe(0x02014b50);
  expect(view.getUint16(end + 10, true)).toBe(1);
  expect(new TextDecoder().decode(bytes.slice(35, 40))).toBe('hello');
});

test('sizes and lines are counted', () => {
  expect([0, 999, 1500, 123_456_789, 5e12].map(bytesText)).toEqual(['0 B', '999 B', '1.5 kB', '123 MB', '5.0 TB']);
  expect(countLines(new TextEncoder().encode('a\nb\n\nc'))).toBe(3);
});
