import { describe, expect, it } from 'vitest';
import { minutesLeft, sinceText } from './age';
import { bodyOf, partsOf, PARTS, standing, type Draft } from './consent';
import { hiddenBy } from './proxied';
import { classesOf, endAfter, GIVEN, namedOf } from './proxy';
import { aboutPatient, isNeeded, parseScope, placeOf, sections } from './scopes';

describe('scopes', () => {
  it.each([
    ['patient/Observation.rs', 'read', 'Observation', 'r'],
    ['patient/Observation.read', 'read', 'Observation', 'r'],
    ['patient/*.cruds', 'write', '*', 'racd'],
    ['patient/*.*', 'write', '*', 'racd'],
    ['user/Condition.write', 'write', 'Condition', 'acd'],
    ['user/Task.u', 'write', 'Task', 'c'],
    ['patient/Observation.s', 'read', 'Observation', 'r'],
    ['openid', 'who', '', ''],
    ['launch/patient', 'who', '', ''],
    ['offline_access', 'stay', '', ''],
    ['system/*.rs', 'read', '*', 'r'],
    ['system/Appointment.cu', 'write', 'Appointment', 'ac'],
    ['patient/Observation.', 'other', '', ''],
    ['something', 'other', '', '']
  ])('%s', (text, section, type, letters) => {
    const scope = parseScope(text);
    const told = [scope.read && 'r', scope.add && 'a', scope.change && 'c', scope.remove && 'd'].filter(Boolean).join('');
    expect([scope.section, scope.type, told]).toEqual([section, type, letters]);
  });
  it('names what a scope is restricted to', () => {
    const text = 'patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory,vital-signs';
    expect(parseScope(text).only).toEqual(['laboratory', 'vital-signs']);
    expect(parseScope(text).type).toBe('Observation');
  });
  it('asks in order, each once, and never hides a right it has no words for', () => {
    const asked = sections(['patient/Condition.c', 'openid', 'patient/Observation.rs', 'sens/HIV', 'openid', 'offline_access']);
    expect(asked.map((one) => [one.section, one.scopes.map((scope) => scope.text)])).toEqual([
      ['who', ['openid']],
      ['read', ['patient/Observation.rs']],
      ['write', ['patient/Condition.c']],
      ['stay', ['offline_access']],
      ['other', ['sens/HIV']]
    ]);
  });
  it('knows when a record must be chosen', () => {
    expect(aboutPatient(['openid', 'user/Observation.rs'])).toBe(false);
    expect(aboutPatient(['launch/patient'])).toBe(true);
    expect(aboutPatient(['patient/*.rs'])).toBe(true);
    expect(isNeeded(parseScope('launch/patient'))).toBe(true);
    expect(isNeeded(parseScope('fhirUser'))).toBe(false);
  });
  it.each([
    ['https://charts.example/callback?x=1', 'site', 'charts.example'],
    ['https://charts.example:8443/callback', 'site', 'charts.example:8443'],
    ['http://127.0.0.1:4000/', 'device', '127.0.0.1:4000'],
    ['http://localhost/x', 'device', 'localhost'],
    ['org.example.app:/callback', 'app', 'org.example.app'],
    ['https://good.example@evil.example/', 'site', 'evil.example'],
    ['not an address', 'app', 'not an address']
  ])('goes back to %s', (uri, kind, name) => {
    expect(placeOf(uri)).toEqual({ kind, name });
  });
});

describe('consents', () => {
  const draft: Draft = { decision: 'deny', to: 'everybody', parts: [], seals: [], purpose: '', until: '' };
  it('sends what was filled in', () => {
    expect(bodyOf({ ...draft, to: 'practitioner/7', parts: ['results'], seals: ['HIV'], purpose: 'TREAT', until: '2027-01-31' }, 'Text', 'sw')).toEqual({
      decision: 'deny',
      actors: [{ practitioner: '7' }],
      types: PARTS.results,
      categories: ['HIV'],
      purposes: ['TREAT'],
      until: '2027-01-31',
      text_version: 'sharing-2026-11',
      text: 'Text',
      language: 'sw'
    });
    expect(bodyOf({ ...draft, to: 'role/nurse' }, 'Text', 'en').actors).toEqual([{ role: 'nurse' }]);
    expect(bodyOf(draft, 'Text', 'en').actors).toEqual([]);
  });
  it('opens seals by a permit, and nothing else', () => {
    const body = bodyOf({ ...draft, decision: 'permit', parts: ['results'], seals: ['MH'], purpose: 'TREAT' }, 'Text', 'en');
    expect([body.types, body.categories, body.purposes]).toEqual([[], ['MH'], []]);
  });
  it('calls whole parts by their name', () => {
    expect(partsOf([...PARTS.results!, 'Condition'])).toEqual(['part:results', 'Condition']);
    expect(partsOf(['Observation'])).toEqual(['Observation']);
  });
  it.each([
    [{ status: 'active' }, 'active'],
    [{ status: 'inactive' }, 'withdrawn'],
    [{ status: 'active', until: '2026-11-21' }, 'over'],
    [{ status: 'active', until: '2026-11-22' }, 'active'],
    [{ status: 'active', from: '2026-11-23' }, 'ahead']
  ])('%o stands as %s', (consent, expected) => {
    expect(standing(consent, '2026-11-22')).toBe(expected);
  });
});

describe('proxies', () => {
  it('always gives who it is, and medicines with their prescriptions', () => {
    expect(classesOf(true, ['visit'])).toEqual([]);
    expect(classesOf(false, ['appointment'])).toEqual(['patient', 'appointment']);
    expect(classesOf(false, ['medicine'])).toContain('prescription');
  });
  it('names parts only where something is left out', () => {
    expect(namedOf([...GIVEN, 'patient'])).toBeUndefined();
    expect(namedOf(['patient', 'appointment'])).toEqual(['appointment']);
  });
  it('hides pages that the grant leaves nothing of', () => {
    expect(hiddenBy(undefined)).toEqual([]);
    expect(hiddenBy(['patient', 'appointment'])).toEqual(['/visits', '/medicines', '/payments', '/who-saw', '/sharing']);
    expect(hiddenBy([...GIVEN, 'consent'])).toEqual([]);
  });
  it('ends months later', () => {
    expect(endAfter(12, new Date('2026-11-22T08:00:00Z'))).toBe('2027-11-22T08:00:00.000Z');
  });
});

describe('time', () => {
  const now = new Date('2026-11-22T12:00:00Z');
  it.each([
    ['2026-11-22T11:59:30Z', 'minutes', 0],
    ['2026-11-22T11:01:00Z', 'minutes', 59],
    ['2026-11-22T10:00:00Z', 'hours', 2],
    ['2026-11-20T12:00:01Z', 'hours', 47],
    ['2026-11-19T11:00:00Z', 'days', 3]
  ])('%s is %s %d ago', (from, unit, count) => {
    expect(sinceText(from, now)).toEqual({ unit, count });
  });
  it('rounds what is left up and stops at nothing', () => {
    expect(minutesLeft('2026-11-22T12:00:01Z', now)).toBe(1);
    expect(minutesLeft('2026-11-22T13:00:00Z', now)).toBe(60);
    expect(minutesLeft('2026-11-22T11:00:00Z', now)).toBe(0);
  });
});
