import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fill, parametersOf } from './message';

const LIB = resolve(import.meta.dirname, '..');
const ROUTES = resolve(LIB, '../routes');
const CATALOGUES = readdirSync(join(import.meta.dirname, 'en')).map((name) => name.replace('.json', ''));
const words = (locale: string, catalogue: string) =>
  JSON.parse(readFileSync(join(import.meta.dirname, locale, `${catalogue}.json`), 'utf8')) as Record<string, string>;

describe.each(CATALOGUES)('catalogue %s', (catalogue) => {
  const en = words('en', catalogue);
  const sw = words('sw', catalogue);
  it('has the same keys in Swahili', () => {
    expect(Object.keys(sw).sort()).toEqual(Object.keys(en).sort());
  });
  it('has no empty text, and both languages take the same parameters', () => {
    const wrong = Object.keys(en).filter((key) => {
      if (!en[key] || !sw[key]) return true;
      return parametersOf(en[key]).join() !== parametersOf(sw[key]).join();
    });
    expect(wrong).toEqual([]);
  });
  it('fills in every text', () => {
    for (const [locale, texts] of [
      ['en', en],
      ['sw', sw]
    ] as const) {
      for (const text of Object.values(texts)) {
        for (const count of [0, 1, 2, 7]) {
          const parameters = Object.fromEntries(parametersOf(text).map((name) => [name, count]));
          expect(fill(text, locale, parameters)).not.toMatch(/[{}]/);
        }
      }
    }
  });
});

it('has a text for every error code of the interface', () => {
  const codes =
    'phone-invalid date-future date-invalid password-short password-common name-required terms-required code-wrong ' +
    'code-expired credentials-wrong throttled slot-taken slot-not-offered patient-busy version-conflict note-incomplete ' +
    'note-signed value-implausible possible-duplicate payment-open';
  const texts = { ...words('en', 'core'), ...words('en', 'errors') };
  expect(codes.split(' ').filter((code) => !texts[`error.${code}`])).toEqual([]);
});

// ---- Every page loads the words it uses ----

/** Catalogues that the layouts of a folder load (`i18n.need(...)` from the root down). */
function loaded(folder: string): Set<string> {
  const found = new Set<string>();
  for (let at = folder; at.startsWith(ROUTES); at = dirname(at)) {
    for (const name of ['+layout.ts', '+page.ts']) {
      const file = join(at, name);
      if (!existsSync(file)) continue;
      for (const call of readFileSync(file, 'utf8').matchAll(/need\(([^)]*)\)/g)) {
        for (const part of call[1]!.matchAll(/'(\w+)'/g)) found.add(part[1]!);
      }
    }
  }
  return found;
}
function fileOf(from: string, specifier: string): string | undefined {
  const path = specifier.startsWith('$lib/')
    ? join(LIB, specifier.slice(5))
    : specifier.startsWith('.')
      ? resolve(dirname(from), specifier)
      : undefined;
  return path && [path, `${path}.ts`, `${path}/index.ts`].find((file) => existsSync(file) && statSync(file).isFile());
}
function keysOf(file: string, seen = new Set<string>()): Map<string, string> {
  const keys = new Map<string, string>();
  if (seen.has(file) || file.includes('/lib/call/') || file.includes('/i18n/')) return keys;
  seen.add(file);
  const source = readFileSync(file, 'utf8');
  for (const use of source.matchAll(/\bt\(\s*'([\w.-]+)'/g)) keys.set(use[1]!, file);
  for (const use of source.matchAll(/\?\s*'([a-z_]+\.[\w.-]+)'\s*:\s*'([a-z_]+\.[\w.-]+)'/g)) {
    keys.set(use[1]!, file);
    keys.set(use[2]!, file);
  }
  for (const link of source.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
    const next = fileOf(file, link[1]!);
    if (next) for (const [key, where] of keysOf(next, seen)) keys.set(key, where);
  }
  return keys;
}
function* pages(folder: string): Generator<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* pages(path);
    else if (name === '+page.svelte') yield path;
  }
}

describe('pages', () => {
  const all = new Map(CATALOGUES.map((name) => [name, words('en', name)]));
  it.each([...pages(ROUTES)].map((page) => [page.slice(ROUTES.length), page]))('%s', (_, page) => {
    const parts = loaded(dirname(page));
    const known = new Set<string>();
    for (const part of parts) for (const key of Object.keys(all.get(part) ?? {})) known.add(key);
    // What is loaded later brings its own: the screens of the own account with `account`, what a patient says about her chart with `privacy`.
    const later = ['account', 'entry', 'errors', 'privacy'].map((name) => all.get(name) ?? {});
    const missing = [...keysOf(page)].filter(([key, where]) => {
      if (/\/lib\/(account|privacy)\//.test(where) && later.some((part) => key in part)) return false;
      return !known.has(key) && [...all.values()].some((part) => key in part);
    });
    expect(missing.map(([key, where]) => `${key} in ${where.slice(LIB.length - 4)}`)).toEqual([]);
  });
});
