// SMART scopes as questions that a person can answer: what of whose record, and what may be done with it.

/** One scope taken apart. */
export interface Scope {
  /** As it was asked. */
  text: string;
  section: Section;
  /** FHIR type, or `*`; empty for scopes that are about no resource. */
  type: string;
  /** Whose: the one patient, whatever the person herself may open, or all there is, for the application itself. */
  reach: 'patient' | 'user' | 'system' | 'none';
  read: boolean;
  add: boolean;
  change: boolean;
  remove: boolean;
  /** Codes that it is restricted to, e.g. `laboratory`. */
  only: string[];
}
/** In the order in which they are asked. */
export const SECTIONS = ['who', 'read', 'write', 'stay', 'other'] as const;
export type Section = (typeof SECTIONS)[number];

const WHO = new Set(['openid', 'fhirUser', 'profile', 'launch', 'launch/patient', 'launch/encounter']);
const STAY = new Set(['offline_access', 'online_access']);
/** Without these an application cannot begin; who takes them away gets nothing that works. */
const NEEDED = new Set(['launch', 'launch/patient', 'launch/encounter']);

/** Whether taking it away makes no sense by itself: it only tells which record is open. */
export function isNeeded(scope: Scope): boolean {
  return NEEDED.has(scope.text);
}

export function parseScope(text: string): Scope {
  const none = { text, type: '', reach: 'none' as const, read: false, add: false, change: false, remove: false, only: [] };
  if (WHO.has(text)) return { ...none, section: 'who' };
  if (STAY.has(text)) return { ...none, section: 'stay' };
  const match = /^(patient|user|system)\/(\*|[A-Za-z]+)\.(\*|read|write|c?r?u?d?s?)(?:\?(.*))?$/.exec(text);
  if (!match || !match[3]) return { ...none, section: 'other' };
  const [, reach, type, rights, query] = match;
  const letters = rights === '*' ? 'cruds' : rights === 'read' ? 'rs' : rights === 'write' ? 'cud' : rights!;
  const has = (letter: string) => letters.includes(letter);
  const [read, add, change, remove] = [has('r') || has('s'), has('c'), has('u'), has('d')];
  return {
    text,
    section: add || change || remove ? 'write' : 'read',
    type: type!,
    reach: reach as 'patient' | 'user' | 'system',
    read,
    add,
    change,
    remove,
    only: codesOf(query)
  };
}

/** `category=http://…|laboratory,http://…|vital-signs` → `laboratory`, `vital-signs`. */
function codesOf(query: string | undefined): string[] {
  if (!query) return [];
  const codes: string[] = [];
  for (const values of new URLSearchParams(query).values()) {
    for (const value of values.split(',')) codes.push(value.split('|').at(-1)!);
  }
  return codes.filter(Boolean);
}

/** Scopes by section, each section in the order of the request; empty sections are left out. */
export function sections(texts: readonly string[]): { section: Section; scopes: Scope[] }[] {
  const all = [...new Set(texts)].map(parseScope);
  return SECTIONS.map((section) => ({ section, scopes: all.filter((scope) => scope.section === section) })).filter(
    (one) => one.scopes.length > 0
  );
}

/** Whether a record must be chosen for what is left. */
export function aboutPatient(texts: readonly string[]): boolean {
  return texts.some((text) => text === 'launch/patient' || text.startsWith('patient/'));
}

/** Where the browser goes back to, as a person can judge it: the host, or the application on the device. */
export function placeOf(uri: string): { kind: 'site' | 'device' | 'app'; name: string } {
  let url: URL;
  try {
    url = new URL(uri);
  } catch {
    return { kind: 'app', name: uri };
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return { kind: 'app', name: url.protocol.slice(0, -1) };
  const local = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  return { kind: local ? 'device' : 'site', name: url.host };
}
