// Which built files a page needs, from Vite's manifest.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = fileURLToPath(new URL('..', import.meta.url));
export const BUILD = join(WEB, 'build');
const CLIENT = join(WEB, '.svelte-kit/output/client/.vite/manifest.json');
const NODES = join(WEB, '.svelte-kit/generated/client-optimized/nodes');

export function readManifest() {
  return JSON.parse(readFileSync(CLIENT, 'utf8'));
}

/** Manifest keys of SvelteKit's nodes by the route file they load (`(patient)/home/+page`, `+layout`). */
export function nodesOf(manifest) {
  const nodes = new Map();
  for (const name of readdirSync(NODES)) {
    const source = readFileSync(join(NODES, name), 'utf8');
    const key = Object.keys(manifest).find((one) => one.endsWith(`client-optimized/nodes/${name}`));
    if (!key) continue;
    for (const match of source.matchAll(/src\/routes\/([^"']*?\+(?:page|layout|error))\.(?:svelte|ts|js)/g)) {
      nodes.set(match[1], key);
    }
  }
  return nodes;
}

/** Every script and style sheet that loading these manifest entries brings along. */
export function closure(manifest, keys) {
  const js = new Set();
  const css = new Set();
  const visit = (key) => {
    const entry = manifest[key];
    if (!entry) throw new Error(`the manifest has no ${key}`);
    if (js.has(entry.file)) return;
    js.add(entry.file);
    for (const file of entry.css ?? []) css.add(file);
    for (const next of entry.imports ?? []) visit(next);
  };
  keys.forEach(visit);
  return { js, css };
}

function entries(manifest) {
  return Object.keys(manifest).filter((key) => manifest[key].isEntry && /runtime\/client\/entry|client-optimized\/app/.test(key));
}

/** Files of a set of routes (with their layouts) in some languages and catalogues. */
export function routes(manifest, names, catalogues, locales = ['en']) {
  const nodes = nodesOf(manifest);
  const wanted = new Set(entries(manifest));
  for (const name of names) {
    const parts = name.split('/');
    for (let depth = 0; depth < parts.length; depth += 1) {
      const layout = [...parts.slice(0, depth), '+layout'].join('/');
      if (nodes.has(layout)) wanted.add(nodes.get(layout));
    }
    if (!nodes.has(name)) throw new Error(`no route ${name}; there are ${[...nodes.keys()].join(', ')}`);
    wanted.add(nodes.get(name));
  }
  for (const locale of locales) {
    for (const part of catalogues) wanted.add(`src/lib/i18n/${locale}/${part}.json`);
  }
  return closure(manifest, [...wanted]);
}

/** The patient's portal with the pages before it, in every language: what works offline. */
export function patientShell(manifest) {
  const pages = [...nodesOf(manifest).keys()].filter(
    (name) => name.endsWith('+page') && (name.startsWith('(patient)/') || name.startsWith('(entry)/') || name === '+page')
  );
  const all = routes(manifest, pages, ['core', 'entry', 'register', 'errors', 'home', 'shared', 'patient'], ['en', 'sw']);
  const error = nodesOf(manifest).get('+error');
  if (error) {
    const extra = closure(manifest, [error]);
    extra.js.forEach((file) => all.js.add(file));
    extra.css.forEach((file) => all.css.add(file));
  }
  return all;
}
