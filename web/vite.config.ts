import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vitest/config';

/** Where `npm run dev` finds a running server. */
const server = process.env.UZIMA_SERVER ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [sveltekit()],
  build: { manifest: true, target: 'es2022', cssMinify: true },
  server: {
    proxy: {
      '/api': server,
      '/ws': { target: server, ws: true },
      '/fhir': server
    }
  },
  test: {
    include: ['src/**/*.test.ts'],
    environment: 'node'
  }
});
