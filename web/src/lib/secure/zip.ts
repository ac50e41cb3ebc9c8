// A ZIP file of a few texts, uncompressed: enough to hand over several files as one.

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
/** Names are UTF-8. */
const FLAG_UTF8 = 0x0800;
const VERSION = 20;

let table: Uint32Array | undefined;
function crcTable(): Uint32Array {
  if (table) return table;
  table = new Uint32Array(256);
  for (let n = 0; n < 256; n += 1) {
    let value = n;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
    table[n] = value >>> 0;
  }
  return table;
}
/** CRC-32 as ZIP uses it. */
export function crc32(bytes: Uint8Array): number {
  const known = crcTable();
  let crc = 0xffffffff;
  for (const byte of bytes) crc = known[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function header(size: number, values: [offset: number, bytes: 2 | 4, value: number][]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (const [offset, width, value] of values) {
    if (width === 2) view.setUint16(offset, value, true);
    else view.setUint32(offset, value, true);
  }
  return bytes;
}
/** Date and time as MS-DOS wrote them, in UTC. */
function dosTime(at: Date): { time: number; date: number } {
  return {
    time: (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1),
    date: ((at.getUTCFullYear() - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate()
  };
}

/** The parts of a ZIP file of these, for a Blob. */
export function zip(files: { name: string; text: string }[], at: Date): Uint8Array<ArrayBuffer>[] {
  const encoder = new TextEncoder();
  const { time, date } = dosTime(at);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const central: Uint8Array<ArrayBuffer>[] = [];
  let offset = 0;
  for (const file of files) {
    const name = encoder.encode(file.name);
    const data = encoder.encode(file.text);
    const crc = crc32(data);
    const common = (from: number): [number, 2 | 4, number][] => [
      [from, 2, VERSION],
      [from + 2, 2, FLAG_UTF8],
      [from + 6, 2, time],
      [from + 8, 2, date],
      [from + 10, 4, crc],
      [from + 14, 4, data.length],
      [from + 18, 4, data.length],
      [from + 22, 2, name.length]
    ];
    parts.push(header(30, [[0, 4, LOCAL], ...common(4)]), name, data);
    central.push(header(46, [[0, 4, CENTRAL], [4, 2, VERSION], ...common(6), [42, 4, offset]]), name);
    offset += 30 + name.length + data.length;
  }
  const size = central.reduce((sum, part) => sum + part.length, 0);
  const end = header(22, [
    [0, 4, END],
    [8, 2, files.length],
    [10, 2, files.length],
    [12, 4, size],
    [16, 4, offset]
  ]);
  return [...parts, ...central, end];
}
