// Makes the built shell ready to be served: no inline script (so that the server may send
// `script-src 'self'`), the first style sheet and the reader's words asked for at once, the list of
// files the service worker keeps, and a Brotli copy beside every text file.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { BUILD, closure, nodesOf, patientShell, readManifest } from './graph.mjs';

const manifest = readManifest();
let html = readFileSync(join(BUILD, 'index.html'), 'utf8');

// 1. Inline scripts become one file with the words' addresses in front.
const catalogues = {};
for (const locale of ['en', 'sw']) {
  catalogues[locale] = ['core'].map((part) => `/${manifest[`src/lib/i18n/${locale}/${part}.json`].file}`);
}
const scripts = [];
html = html.replace(/<script>([\s\S]*?)<\/script>/g, (_, body) => {
  scripts.push(body.trim());
  return scripts.length === 1 ? '%BOOT_HEAD%' : '%BOOT_BODY%';
});
if (scripts.length !== 2) throw new Error(`expected two inline scripts in the shell, found ${scripts.length}`);
const head = `${scripts[0]}
(function () {
  var catalogues = ${JSON.stringify(catalogues)};
  var wanted = catalogues[document.documentElement.lang] || catalogues.en;
    var link = document.createElement('link');
  link.rel = 'modulepreload';
  link.href = wanted[0];
  document.head.appendChild(link);
})();`;
// SvelteKit's own starter finds its element by `document.currentScript`, which a classic script has too.
const body = scripts[1];
html = html.replace('%BOOT_HEAD%', `<script src="${asset('boot', head)}"></script>`);
html = html.replace('%BOOT_BODY%', `<script src="${asset('start', body)}"></script>`);

// 2. The style sheet and code of the frame, instead of finding them two round trips later.
const root = closure(manifest, [nodesOf(manifest).get('+layout')]);
const links = [
  ...[...root.css].filter((file) => !html.includes(file)).map((file) => `<link rel="stylesheet" href="/${file}">`),
  ...[...root.js].filter((file) => !html.includes(file)).map((file) => `<link rel="modulepreload" href="/${file}">`)
];
html = html.replace('</head>', `${links.join('\n    ')}\n  </head>`);
writeFileSync(join(BUILD, 'index.html'), html);

// 3. What the service worker keeps: the shell in both languages.
const shell = patientShell(manifest);
const files = ['/index.html', ...[...shell.js, ...shell.css].map((file) => `/${file}`)];
for (const name of ['/manifest.webmanifest', '/icons/uzima.svg']) files.push(name);
for (const name of html.matchAll(/src="(\/_app\/immutable\/[^"]+)"/g)) files.push(name[1]);
const worker = join(BUILD, 'service-worker.js');
const source = readFileSync(worker, 'utf8');
const placed = source.replace(/(["'`])__UZIMA_SHELL__\1/, () => JSON.stringify(JSON.stringify([...new Set(files)].sort())));
if (placed === source) throw new Error('the service worker has no place for the list of files');
writeFileSync(worker, placed);

// 4. Brotli copies.
let count = 0;
for (const path of walk(BUILD)) {
  if (!/\.(html|js|mjs|css|json|svg|webmanifest|txt|map)$/.test(path)) continue;
  const content = readFileSync(path);
  const packed = brotliCompressSync(content, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length }
  });
  if (packed.length < content.length) {
    writeFileSync(`${path}.br`, packed);
    count += 1;
  }
}
console.log(`finish: ${files.length} files in the offline shell, ${count} Brotli copies`);

/** Writes a script under a name made from its content and returns its address. */
function asset(name, content) {
  const hash = createHash('sha256').update(content).digest('base64url').slice(0, 10);
  const path = `_app/immutable/entry/${name}.${hash}.js`;
  writeFileSync(join(BUILD, path), content);
  return `/${path}`;
}

function* walk(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* walk(path);
    else yield path;
  }
}
