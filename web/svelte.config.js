import adapter from '@sveltejs/adapter-static';

/** @type {import('@sveltejs/kit').Config} */
export default {
  compilerOptions: { runes: true },
  kit: {
    // Every page is drawn in the browser: the server hands out one shell for every address.
    adapter: adapter({ fallback: 'index.html', precompress: false, strict: false }),
    serviceWorker: { register: false },
    // No polling: the service worker tells when a new release waits.
    version: { pollInterval: 0 }
  }
};
