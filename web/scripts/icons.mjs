// Copies the Lucide icons that the sources name into src/lib/icons, one path each: `npm run icons`.
// Lucide is ISC-licensed, (c) Lucide contributors; parts are MIT, (c) Cole Bemis (Feather).
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = fileURLToPath(new URL('..', import.meta.url));
const TARGET = join(WEB, 'src/lib/icons');
const SOURCE = join(WEB, 'node_modules/@lucide/svelte/dist/icons');

const used = new Set();
for (const path of walk(join(WEB, 'src'))) {
  if (!/\.(svelte|ts)$/.test(path)) continue;
  for (const match of readFileSync(path, 'utf8').matchAll(/['"]\$lib\/icons\/([a-z0-9-]+)['"]/g)) used.add(match[1]);
}
used.delete('icon');
for (const name of readdirSync(TARGET)) {
  if (name !== 'icon.ts' && name.endsWith('.ts') && !used.has(name.slice(0, -3))) rmSync(join(TARGET, name));
}
for (const name of [...used].sort()) {
  const file = join(SOURCE, `${name}.svelte`);
  if (!existsSync(file)) throw new Error(`Lucide has no icon ${name}`);
  const data = /const iconData = (\{.*\});/.exec(readFileSync(file, 'utf8'));
  if (!data) throw new Error(`no shapes in ${name}`);
  const shapes = JSON.parse(data[1]).node;
  const path = shapes.map(([shape, attributes]) => pathOf(shape, attributes)).join('');
  writeFileSync(join(TARGET, `${name}.ts`), `import { icon } from './icon';\n\nexport default icon('${path}');\n`);
}
console.log(`${used.size} icons`);

function pathOf(shape, of) {
  const number = (name) => Number(of[name] ?? 0);
  switch (shape) {
    case 'path':
      return absolute(of.d);
    case 'circle':
    case 'ellipse': {
      const rx = shape === 'circle' ? number('r') : number('rx');
      const ry = shape === 'circle' ? number('r') : number('ry');
      return `M${number('cx') - rx} ${number('cy')}a${rx} ${ry} 0 1 0 ${2 * rx} 0a${rx} ${ry} 0 1 0 ${-2 * rx} 0`;
    }
    case 'line':
      return `M${of.x1} ${of.y1}L${of.x2} ${of.y2}`;
    case 'polyline':
    case 'polygon':
      return `M${of.points.trim().replace(/\s+/g, 'L')}${shape === 'polygon' ? 'z' : ''}`;
    case 'rect': {
      const [x, y, w, h] = ['x', 'y', 'width', 'height'].map(number);
      const r = Number(of.rx ?? of.ry ?? 0);
      const arc = (dx, dy) => (r ? `a${r} ${r} 0 0 1 ${dx} ${dy}` : '');
      return `M${x + r} ${y}h${w - 2 * r}${arc(r, r)}v${h - 2 * r}${arc(-r, r)}h${2 * r - w}${arc(-r, -r)}v${2 * r - h}${arc(r, -r)}z`;
    }
    default:
      throw new Error(`shape ${shape} is not known`);
  }
}

/** A path that may follow another one: its first move must not be relative. */
function absolute(d) {
  const start = /^m\s*(-?[\d.]+)[\s,]*(-?[\d.]+)\s*/.exec(d);
  if (!start) return d;
  const rest = d.slice(start[0].length);
  return `M${start[1]} ${start[2]}${/^[-.\d]/.test(rest) ? 'l' : ''}${rest}`;
}

function* walk(folder) {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* walk(path);
    else yield path;
  }
}
