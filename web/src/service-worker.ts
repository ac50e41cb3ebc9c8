/// <reference types="@sveltejs/kit" />
/// <reference no-default-lib="true"/>
/// <reference lib="esnext" />
/// <reference lib="webworker" />
import { version } from '$service-worker';

// Keeps the shell of the patient's portal ready without a network; other portals are kept once they were
// used. Nothing of a record is stored here: /api, /fhir and /ws never pass through.
const worker = globalThis as unknown as ServiceWorkerGlobalScope;
const SHELL = `uzima-shell-${version}`;
const ASSETS = 'uzima-assets';
/** Written by scripts/finish.mjs: the files of the shell, '/index.html' among them. */
const FILES = JSON.parse('__UZIMA_SHELL__') as string[];
/** Assets kept beside the shell; the oldest go first. Enough for two releases of every portal. */
const MOST_ASSETS = 400;

worker.addEventListener('install', (event) => {
  // addAll is all or nothing: a shell with a hole is never activated.
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(FILES)));
});

worker.addEventListener('activate', (event) => {
  event.waitUntil(
    (async () => {
      for (const name of await caches.keys()) {
        if (name.startsWith('uzima-shell-') && name !== SHELL) await caches.delete(name);
      }
      const first = (await worker.clients.matchAll({ includeUncontrolled: true })).length > 0;
      if (first) await worker.clients.claim();
    })()
  );
});

worker.addEventListener('message', (event) => {
  if (event.data === 'activate') void worker.skipWaiting();
});

worker.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET') return;
  const url = new URL(request.url);
  if (url.origin !== worker.location.origin) return;
  if (/^\/(api|fhir|ws|hooks|oauth|metrics|healthz|readyz)(\/|$)/.test(url.pathname)) return;
  if (request.mode === 'navigate') event.respondWith(page(request));
  else if (url.pathname.startsWith('/_app/immutable/') || FILES.includes(url.pathname)) event.respondWith(asset(request));
});

async function page(request: Request): Promise<Response> {
  const shell = await (await caches.open(SHELL)).match('/index.html');
  return shell ? renewed(shell) : fetch(request);
}

/** What was kept carries the nonce of its day; every page gets its own, as from the server. */
async function renewed(shell: Response): Promise<Response> {
  const policy = shell.headers.get('content-security-policy') ?? '';
  const old = /'nonce-([^']+)'/.exec(policy)?.[1];
  if (!old) return shell;
  const nonce = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
  const headers = new Headers(shell.headers);
  for (const name of ['content-encoding', 'content-length', 'etag']) headers.delete(name);
  headers.set('content-security-policy', policy.replaceAll(old, nonce));
  return new Response((await shell.text()).replaceAll(old, nonce), { status: shell.status, headers });
}

async function asset(request: Request): Promise<Response> {
  const kept = await caches.match(request);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) {
    const cache = await caches.open(ASSETS);
    await cache.put(request, response.clone());
    const keys = await cache.keys();
    for (const old of keys.slice(0, Math.max(0, keys.length - MOST_ASSETS))) await cache.delete(old);
  }
  return response;
}
