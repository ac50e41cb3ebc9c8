// Builds the harness page, starts the real hub and relay, and serves the page.
import { spawn, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, '../..');
const web = join(root, 'web');
const load = async (name) => {
  const folder = join(web, 'node_modules', name);
  const { exports, module, main } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const entry = exports?.['.'];
  const pick = (value) => (typeof value === 'string' ? value : value && pick(value.import ?? value.default));
  return import(pathToFileURL(join(folder, pick(entry) ?? module ?? main)).href);
};

/** Bundles the page into a temporary folder. */
export async function buildPage() {
  const { build } = await load('vite');
  const { svelte } = await load('@sveltejs/vite-plugin-svelte');
  const folder = await mkdtemp(join(tmpdir(), 'uzima-call-page-'));
  // The page lies outside web/, where its packages are.
  const packages = {
    name: 'packages-of-web',
    enforce: 'pre',
    resolveId(source, importer) {
      if (importer && !importer.startsWith(web) && /^(svelte|@lucide)(\/|$)/.test(source)) {
        return this.resolve(source, join(web, 'vite.config.ts'), { skipSelf: true });
      }
    }
  };
  await build({
    root: join(here, 'harness'),
    configFile: false,
    logLevel: 'error',
    plugins: [packages, svelte({ configFile: false })],
    build: { outDir: folder, emptyOutDir: true, target: 'es2022' }
  });
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Starts the hub and relay. `UZIMA_CALL_HARNESS` names the program, else cargo builds it; `UZIMA_CALL_PORTS` its ports. */
export async function startHub() {
  let program = process.env.UZIMA_CALL_HARNESS;
  if (!program) {
    const cargo = process.env.CARGO ?? 'cargo';
    const built = spawnSync(
      cargo,
      ['build', '--quiet', '-p', 'uzima-reach', '--example', 'call-harness', '--message-format', 'json'],
      { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'inherit'] }
    );
    if (built.status !== 0) throw new Error('the call harness does not build');
    program = built.stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line))
      .find((message) => message.executable && message.target?.name === 'call-harness').executable;
  }
  const ports = (process.env.UZIMA_CALL_PORTS ?? '').split(',').filter(Boolean);
  const child = spawn(program, ports, { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(JSON.parse(line)));
  const next = () => new Promise((done) => waiting.push(done));
  const ready = await next();
  return {
    ...ready,
    /** One command, see crates/reach/examples/call-harness.rs. */
    async tell(command) {
      const answer = next();
      child.stdin.write(`${JSON.stringify(command)}\n`);
      const got = await answer;
      if (got.error) throw new Error(`${command.do}: ${got.error}`);
      return got;
    },
    stop: () => child.kill()
  };
}

/** Serves the page and the few requests it makes. */
export async function servePage(folder, hub, port = 0) {
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://harness');
    const parameters = Object.fromEntries(url.searchParams);
    try {
      if (['/join', '/credentials', '/end'].includes(url.pathname)) {
        const action = { '/join': 'grant', '/credentials': 'credentials', '/end': 'end' }[url.pathname];
        const answer = await hub.tell({ ...parameters, do: action, admitted: server.admitted === true });
        // A thin link stands in front of the relay's UDP port; its TCP port would be a way round it.
        for (const one of (server.relayPort && answer.ice_servers) || []) {
          one.urls = one.urls.filter((url) => !url.includes('tcp')).map((url) => url.replace(/:\d+(?=$|\?)/, `:${server.relayPort}`));
        }
        for (const one of (server.only && answer.ice_servers) || []) one.urls = one.urls.filter((url) => url.includes(server.only));
        if (server.only && answer.ice_servers) answer.ice_servers = answer.ice_servers.filter((one) => one.urls.length > 0);
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
        return;
      }
      const file = join(folder, url.pathname === '/' ? 'index.html' : url.pathname);
      const body = await readFile(file);
      response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' }).end(body);
    } catch (error) {
      response.writeHead(error.code === 'ENOENT' ? 404 : 500).end(String(error.message));
    }
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${server.address().port}`, server, stop: () => server.close() };
}
