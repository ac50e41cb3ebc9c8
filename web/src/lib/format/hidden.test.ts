import { describe, expect, it } from 'vitest';
import { aboutVisit, hides } from './hidden';

describe('hidden fields', () => {
  it('are those that the answer names', () => {
    expect(hides({ hidden: ['reason'] }, 'reason')).toBe(true);
    expect(hides({ hidden: ['reason'] }, 'plan')).toBe(false);
    for (const whole of [{}, { hidden: [] }, null, undefined]) expect(hides(whole, 'reason')).toBe(false);
  });

  const cold = { code: 'J06.9', display: 'Common cold' };
  it.each([
    { visit: { diagnoses: [cold], reason: 'Cough' }, about: { text: 'Common cold', hidden: false } },
    { visit: { diagnoses: [], reason: 'Cough' }, about: { text: 'Cough', hidden: false } },
    { visit: { diagnoses: [cold], reason: 'Cough', hidden: ['diagnoses'] }, about: { text: 'Common cold', hidden: true } },
    { visit: { diagnoses: [], reason: 'Cough', hidden: ['diagnoses'] }, about: { text: '', hidden: true } },
    { visit: { diagnoses: [], reason: '', hidden: ['reason'] }, about: { text: '', hidden: true } },
    { visit: { diagnoses: [cold], reason: '', hidden: ['reason'] }, about: { text: 'Common cold', hidden: false } },
    { visit: { diagnoses: [], reason: '' }, about: { text: '', hidden: false } }
  ])('a visit is told in one line: $about', ({ visit, about }) => {
    expect(aboutVisit(visit)).toEqual(about);
  });
});
