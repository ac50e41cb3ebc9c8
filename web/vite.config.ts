import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vitest/config';

/** Where `npm run dev` finds a running server. */
const server = process.env.UZIMA_SERVER ?? 'http://127.0.0.1:8080';

const FRAME =
  /\/lib\/(session|portals|format\/zone|i18n\/(index|message)|api\/client|icons\/(icon|Icon|languages|cloud-off|video|x)\.|ui\/(Button|LanguageSwitch|Mark|OfflineBanner|toast|net)\.)/;
const READS =
  /\/lib\/(api\/query|live\/live|format\/(date|names)|icons\/chevron-(left|right)|patient\/(next|when)|ui\/(Page|Async|Skeleton|clock|KindOf)\.)/;

const FORMS =
  /\/lib\/(api\/problem|ui\/(Field|TextField|ErrorSummary|form)\.)|svelte\/src\/internal\/client\/dom\/elements\/(bindings\/(?!this|shared)|custom-element)|icons\/(circle|triangle)-alert/;

const SHORT = {
  assetFileNames: '_app/immutable/assets/[hash:7][extname]',
  chunkFileNames: '_app/immutable/chunks/[hash:7].js'
};

export default defineConfig({
  plugins: [
    sveltekit(),
    {
      // The first file names every page's files: short names, made of their content alone (42 bits).
      name: 'short-names',
      config: (_, { isSsrBuild }) => (isSsrBuild ? {} : { build: { rolldownOptions: { output: SHORT } } })
    }
  ],
  build: {
    manifest: true,
    target: 'es2022',
    // Scripts find their own parts; only style sheets are named ahead, which keeps the route table small.
    modulePreload: { resolveDependencies: (_, files) => files.filter((file) => file.endsWith('.css')) },
    rolldownOptions: {
      output: {
        // What nearly every page uses is one file: fewer round trips, and it packs better than fifty.
        codeSplitting: {
          groups: [
            {
              name: 'frame',
              priority: 2,
              test: (id: string) =>
                (/node_modules\/(svelte|@sveltejs|esm-env|clsx|devalue)\//.test(id) && !FORMS.test(id)) || id.includes('preload-helper') ||
                (/\/src\/lib\//.test(id) && FRAME.test(id))
            },
            { name: 'forms', priority: 1, test: FORMS },
            { name: 'reads', priority: 1, test: READS }
          ]
        }
      }
    }
  },
  server: {
    proxy: {
      '/api': server,
      '/ws': { target: server, ws: true },
      '/fhir': server,
      '/oauth': server
    }
  },
  test: {
    include: ['src/**/*.test.ts'],
    environment: 'node'
  }
});
